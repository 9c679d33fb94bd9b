//! Limits: amounts over times, each time once, and the zone in which days begin.

use super::Check;
use crate::calendar::Zone;
use crate::config::problem::Fault;
use crate::config::quantity::{Every, Limit, Rate};
use crate::config::quotas::{Quotas, Rates};
use crate::routing::{Period, Quota};

/// The limits of one thing as they run.
#[derive(Default)]
pub(super) struct Limited {
    pub rpm: Option<u64>,
    pub tpm: Option<u64>,
    /// Each period once, and none of a minute.
    pub quotas: Vec<Quota>,
}

/// Of what a limit is.
#[derive(Clone, Copy)]
enum Of {
    Requests,
    Tokens,
}

impl Check<'_, '_> {
    /// The zone at `path`; that of `default` if the file says none, or one that nobody knows.
    pub(super) fn zone(&mut self, path: &str, name: Option<&str>, default: &Zone) -> Zone {
        let Some(name) = name else { return default.clone() };
        Zone::named(name).unwrap_or_else(|| {
            let fault = Fault::new(format!("there is no time zone {}", self.places.written(path)));
            self.error(
                path,
                fault.help("write a name of the IANA database, such as `UTC` or `America/Los_Angeles`"),
            );
            default.clone()
        })
    }

    /// The limits at `path`, with those per minute that are known already.
    pub(super) fn quotas(&mut self, path: &str, file: &Quotas, minute: Limited, zone: &Zone) -> Limited {
        let zone = self.zone(&format!("{path}.time_zone"), file.time_zone.as_deref(), zone);
        let (limited, faults) = gather(file, minute, &zone);
        for (key, fault) in faults {
            self.error(&format!("{path}.{key}"), fault);
        }
        limited
    }
}

/// The same where it has been reported already what is wrong.
pub(super) fn silently(file: &Quotas, minute: Limited, zone: &Zone) -> Limited {
    let own = file.time_zone.as_deref().and_then(Zone::named);
    gather(file, minute, own.as_ref().unwrap_or(zone)).0
}

fn gather(file: &Quotas, minute: Limited, zone: &Zone) -> (Limited, Vec<(String, Fault)>) {
    let mut limited = minute;
    let mut faults = Vec::new();
    let day = |limit: Limit| limit.0.map(|amount| (String::new(), Rate { amount, every: Every::Day }));
    let rates = |rates: &Option<Rates>| rates.as_ref().map(Rates::each).unwrap_or_default();
    let all = [
        ("rpd", Of::Requests, day(file.rpd).into_iter().collect()),
        ("requests", Of::Requests, rates(&file.requests)),
        ("tpd", Of::Tokens, day(file.tpd).into_iter().collect()),
        ("tokens", Of::Tokens, rates(&file.tokens)),
    ];
    for (key, of, rates) in all {
        for (at, Rate { amount, every }) in rates {
            let mut fault = |fault| faults.push((format!("{key}{at}"), fault));
            if amount == 0 {
                let refuses = Fault::new("a limit of 0 would refuse everything");
                fault(refuses.help("remove it, or remove what should not be used"));
                continue;
            }
            let place = limited.place(of, every, zone);
            if place.is_some() {
                let twice = Fault::new(format!("two limits of {} per {every}", of.as_str()));
                fault(twice.help("keep one of them: `rpm`, `tpm`, `rpd` and `tpd` are such limits, too"));
            }
            *place = Some(amount);
        }
    }
    (limited, faults)
}

impl Limited {
    /// Where the limit over that time is kept.
    fn place(&mut self, of: Of, every: Every, zone: &Zone) -> &mut Option<u64> {
        let period = match every {
            Every::Seconds(60) => {
                return match of {
                    Of::Requests => &mut self.rpm,
                    Of::Tokens => &mut self.tpm,
                }
            }
            Every::Seconds(seconds) => Period::Rolling(seconds),
            Every::Day => Period::Day(zone.clone()),
        };
        let known = self.quotas.iter().position(|quota| quota.period == period);
        let at = known.unwrap_or(self.quotas.len());
        if known.is_none() {
            self.quotas.push(Quota { period, requests: None, tokens: None });
        }
        let quota = &mut self.quotas[at];
        match of {
            Of::Requests => &mut quota.requests,
            Of::Tokens => &mut quota.tokens,
        }
    }
}

impl Of {
    fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}
