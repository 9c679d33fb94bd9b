//! What has changed among the candidates, for the shell to log and to count. The state machines never speak.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bans::Term;

/// One change. Without a `model` it is about the whole credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Strikes have become a ban, or a probe has failed.
    Banned {
        /// Whose.
        credential: Arc<str>,
        /// Name here.
        model: Option<Arc<str>>,
        /// The code of the last strike.
        code: u16,
        /// How many strikes it took; 1 for a failed probe.
        strikes: u32,
        /// For how long.
        term: Term,
    },
    /// A ban's term is over: one request decides now.
    Expired {
        /// Whose.
        credential: Arc<str>,
        /// Name here.
        model: Option<Arc<str>>,
    },
    /// Back, with its full share.
    Unbanned {
        /// Whose.
        credential: Arc<str>,
        /// Name here.
        model: Option<Arc<str>>,
        /// What lifted the ban.
        by: By,
    },
    /// An upstream has asked to be left alone.
    CooledDown {
        /// Whose.
        credential: Arc<str>,
        /// Name here.
        model: Option<Arc<str>>,
        /// The code that came with it.
        code: u16,
        /// For how long from now.
        term: Duration,
    },
}

/// What lifted a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A probe that succeeded.
    Success,
    /// An operator.
    Operator,
    /// It was the host and not the key.
    Host,
    /// Another router.
    Fleet,
}

impl By {
    /// For logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Operator => "operator",
            Self::Host => "host",
            Self::Fleet => "fleet",
        }
    }
}

impl Transition {
    /// The name of the credential it is about.
    pub fn credential(&self) -> &str {
        self.subject().0
    }

    /// The model it is about, if not the whole credential.
    pub fn model(&self) -> Option<&str> {
        self.subject().1
    }

    fn subject(&self) -> (&str, Option<&str>) {
        match self {
            Self::Banned { credential, model, .. }
            | Self::Expired { credential, model }
            | Self::Unbanned { credential, model, .. }
            | Self::CooledDown { credential, model, .. } => (credential, model.as_deref()),
        }
    }
}

impl fmt::Display for Transition {
    /// One line; names are quoted and escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credential {:?}", self.credential())?;
        if let Some(model) = self.model() {
            write!(f, ", model {model:?}")?;
        }
        match self {
            Self::Banned { code, strikes: 1, term, .. } => write!(f, ": banned {term} after a {code}"),
            Self::Banned { code, strikes, term, .. } => {
                write!(f, ": banned {term} after {strikes} strikes, the last a {code}")
            }
            Self::Expired { .. } => f.write_str(": ban is over, one request decides"),
            Self::Unbanned { by: By::Success, .. } => f.write_str(": unbanned by a success"),
            Self::Unbanned { by: By::Operator, .. } => f.write_str(": unbanned by an operator"),
            Self::Unbanned { by: By::Host, .. } => f.write_str(": unbanned, its host was at fault"),
            Self::Unbanned { by: By::Fleet, .. } => f.write_str(": unbanned by another router"),
            Self::CooledDown { code, term, .. } => {
                write!(f, ": left alone for {}, as its {code} asked", humantime::format_duration(*term))
            }
        }
    }
}
