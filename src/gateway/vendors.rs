//! Who is meant by a vendor: the credentials of a type, or one by its name.
//!
//! A request may ask for one (`?vendor=`, as a router of an earlier generation had it, or `x-vendor`). Which credentials
//! that leaves is worked out once for each configuration, since types and names are few.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::Credential;

/// The credentials of each vendor, by their places.
#[derive(Default)]
pub struct Vendors {
    places: HashMap<String, Arc<[bool]>>,
    types: BTreeSet<&'static str>,
}

impl Vendors {
    /// Those of a configuration.
    pub fn new(credentials: &[Credential]) -> Self {
        let types: BTreeSet<&'static str> = credentials.iter().map(|c| c.kind.as_str()).collect();
        let names = credentials.iter().map(|c| c.name.as_str());
        let means = |vendor: &str, c: &Credential| c.kind.as_str() == vendor || c.name.as_str() == vendor;
        let places = names.chain(types.iter().copied()).map(|vendor| {
            (vendor.to_owned(), credentials.iter().map(|credential| means(vendor, credential)).collect())
        });
        Self { places: places.collect(), types }
    }

    /// Which credentials `vendor` means; none if nobody is called so.
    pub fn of(&self, vendor: &str) -> Option<&Arc<[bool]>> {
        self.places.get(vendor)
    }

    /// Their types, in alphabetical order, and with `names` those of credentials, too.
    pub fn known(&self, names: bool) -> Vec<&str> {
        let mut all: BTreeSet<&str> = self.types.iter().copied().collect();
        all.extend(self.places.keys().map(String::as_str).filter(|_| names));
        all.into_iter().collect()
    }
}
