//! What things are called in the store. All keys of a credential have one hash tag, and all keys of the fleet another, so
//! that each script finds its keys on one node of a cluster.
//!
//! A hash tag is the text in the first pair of braces:
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>. Names are an operator's free
//! text, so braces and the mark that parts them are written as `%` and two digits.

use std::fmt::Write;

use crate::routing::{Asked, Question, Scope, Stretch};

/// Whose limits they are.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'n> {
    /// A credential, by its name.
    Credential(&'n str),
    /// A client, by the digest of its key.
    Client(&'n str),
}

/// The names of one namespace.
#[derive(Clone, Debug)]
pub struct Keys {
    namespace: String,
}

/// What one lease takes of: the keys of its scripts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    /// The requests at one time.
    pub leases: String,
    /// The request that decides on a ban.
    pub probe: String,
    /// Where each limit is counted, and over what time.
    pub windows: Vec<(String, Stretch)>,
}

impl Taken {
    /// One limit of an owner, or of a model on it, alone.
    pub fn of(keys: &Keys, owner: Owner, model: Option<&str>, stretch: Stretch) -> Self {
        Self {
            leases: keys.leases(owner),
            probe: keys.of(owner, "probe", None),
            windows: vec![(keys.window(owner, model, stretch), stretch)],
        }
    }

    /// The same for one of its own limits.
    pub fn only(&self, window: (String, Stretch)) -> Self {
        Self { leases: self.leases.clone(), probe: self.probe.clone(), windows: vec![window] }
    }
}

impl Keys {
    /// The names in `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// What a lease with that question takes of.
    pub fn taken(&self, question: &Question) -> Taken {
        self.taken_of(Owner::Credential(&question.credential), question)
    }

    /// What a client's seat takes of.
    pub fn seat(&self, question: &Question) -> Taken {
        self.taken_of(Owner::Client(&question.credential), question)
    }

    fn taken_of(&self, owner: Owner, question: &Question) -> Taken {
        let model = question.model.as_deref();
        let probed = model.filter(|_| question.probe == Some(Scope::Model));
        let window = |asked: &Asked| {
            let whose = model.filter(|_| asked.scope == Scope::Model);
            (self.window(owner, whose, asked.stretch), asked.stretch)
        };
        Taken {
            leases: self.leases(owner),
            probe: self.of(owner, "probe", probed),
            windows: question.limits.iter().map(window).collect(),
        }
    }

    /// Where an owner, or a model on it, is counted over some time.
    fn window(&self, owner: Owner, model: Option<&str>, stretch: Stretch) -> String {
        match stretch {
            Stretch::Rolling { seconds: 60, .. } => self.of(owner, "window", model),
            Stretch::Rolling { seconds, .. } => self.of(owner, &format!("window-{seconds}"), model),
            Stretch::Day { begin, .. } => self.of(owner, &format!("day-{begin}"), model),
        }
    }

    /// The requests at one time of an owner.
    fn leases(&self, owner: Owner) -> String {
        self.of(owner, "leases", None)
    }

    /// Something that all routers share: `routers`, `standings`, `changes`, `born`.
    pub fn fleet(&self, what: &str) -> String {
        format!("{}:{{fleet}}:{what}", self.namespace)
    }

    fn of(&self, owner: Owner, what: &str, model: Option<&str>) -> String {
        let (kind, name) = match owner {
            Owner::Credential(name) => ('c', name),
            Owner::Client(digest) => ('k', digest),
        };
        let mut key = format!("{}:{{{kind}:{}}}:{what}", self.namespace, written(name));
        if let Some(model) = model {
            key.push(':');
            key.push_str(&written(model));
        }
        key
    }
}

/// A name, without what has a meaning in a key.
pub fn written(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '{' | '}' | ':' | '%' => {
                let _ = write!(out, "%{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// The name again; none if nobody writes so.
pub fn read(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        out.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Stretch = Stretch::Rolling { seconds: 60, grain: 1, count: 61 };

    fn tag(key: &str) -> &str {
        let (_, rest) = key.split_once('{').expect("a brace");
        rest.split_once('}').expect("another").0
    }

    proptest! {
        #[test]
        fn all_keys_of_a_credential_share_one_tag_and_no_two_names_share_a_key(
            name in "[a-c{}:%é ]{1,6}", other in "[a-c{}:%é ]{1,6}", model in "[a-c{}:%]{1,4}",
        ) {
            let keys = Keys::new("ns");
            let day = Stretch::Day { begin: 86_400, end: 172_800 };
            let (owner, another) = (Owner::Credential(&name), Owner::Credential(&other));
            let all = [
                keys.leases(owner),
                keys.window(owner, None, MINUTE),
                keys.window(owner, Some(&model), MINUTE),
                keys.window(owner, Some(&model), day),
            ];
            for key in &all {
                prop_assert_eq!(tag(key), tag(&all[0]));
                prop_assert!(!tag(key).is_empty());
            }
            prop_assert_eq!(keys.leases(owner) == keys.leases(another), name == other);
            prop_assert_ne!(keys.leases(owner), keys.leases(Owner::Client(&name)));
            prop_assert_eq!(read(&written(&name)), Some(name));
        }
    }

    #[test]
    fn each_limit_is_counted_in_a_key_of_its_own() {
        let asked = |scope, stretch| Asked { scope, stretch, requests: Some(5), tokens: None };
        let day = Stretch::Day { begin: 86_400, end: 172_800 };
        let question = Question {
            credential: "a".into(),
            model: Some("m".into()),
            limits: vec![asked(Scope::Model, MINUTE), asked(Scope::Credential, day)],
            most: None,
            tokens: 0,
            probe: None,
            among: 1,
        };
        let taken = Keys::new("ns").taken(&question);
        let named: Vec<_> = taken.windows.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(named, ["ns:{c:a}:window:m", "ns:{c:a}:day-86400"]);
        assert_eq!((taken.leases.as_str(), taken.probe.as_str()), ("ns:{c:a}:leases", "ns:{c:a}:probe"));
    }
}
