//! What differs between the page as a browser has it and as it is now.
//!
//! Of each part only a hash is kept. Where the same parts are shown in the same order, those that differ are told;
//! where rows have come, gone or changed places, all of it. The hash is keyed at random, so that no name can be made
//! to look like another.

use std::hash::{BuildHasher, RandomState};

use serde_json::{Map, Value};

use super::{Body, Query};
use crate::observe::view::View;

/// The page as a browser has it.
#[derive(Default)]
pub struct Changes {
    keys: RandomState,
    known: Vec<(String, u64)>,
}

impl Changes {
    /// The event that brings the browser up to date; none if it is. The first one is all there is.
    ///
    /// `parts` has an object with the new HTML by id, `whole` a string with that of everything.
    pub fn next(&mut self, view: &View, query: &Query) -> Option<String> {
        let body = Body::of(view, query);
        let now: Vec<_> =
            body.parts().map(|part| (part.id.clone(), self.keys.hash_one(&part.html))).collect();
        let same_places = self.known.iter().map(|(id, _)| id).eq(now.iter().map(|(id, _)| id));
        let event = if same_places {
            let old = self.known.iter().map(|(_, hash)| hash);
            let pairs = body.parts().zip(old.zip(now.iter().map(|(_, hash)| hash)));
            let changed = pairs.filter(|(_, (old, new))| old != new);
            let changed: Map<_, _> =
                changed.map(|(part, _)| (part.id.clone(), Value::from(part.html.as_str()))).collect();
            (!changed.is_empty()).then(|| event("parts", &Value::Object(changed)))
        } else {
            Some(event("whole", &Value::from(body.html())))
        };
        self.known = now;
        event
    }
}

/// JSON has no line breaks, and so fits the one line of `data`.
fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}
