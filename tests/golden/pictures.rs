//! OpenAI's images API at Google: the folders of `pictures`, whose names end with the host that they are for.
//!
//! No recording has them: the answers are made after Google's references, with pictures of a few bytes.

use std::fs;
use std::path::Path;

use auto_ai_router::dialect::gemini::images;
use auto_ai_router::dialect::{Habits, Target};
use serde_json::Value;

use crate::case::{compact, compare, laid_out, root, STAMP};

fn check(folder: &Path, differences: &mut Vec<String>) {
    let read = |file: &str| compact(&fs::read_to_string(folder.join(file)).unwrap());
    let request = read("client-request.json");
    let asked: Value = serde_json::from_str(&request).unwrap();
    let habits = Habits { vertex: folder.to_string_lossy().ends_with("vertex"), ..Habits::default() };
    let target = Target { model: asked["model"].as_str().unwrap(), habits, signature: &|_| None };
    let (composed, writer) = images::compose(&request.into(), None, &target, STAMP.created).unwrap();
    compare(folder, "upstream-request.json", &laid_out(&composed.body.contiguous()), differences);
    let answer = writer.whole(read("upstream-reply.json").as_bytes()).unwrap().body;
    compare(folder, "client-reply.json", &laid_out(&answer), differences);
}

#[test]
fn every_picture_is_asked_for_and_given_as_the_files_say() {
    let mut folders: Vec<_> =
        fs::read_dir(root().join("pictures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 4, "{folders:?}");
    let mut differences = Vec::new();
    folders.iter().for_each(|folder| check(folder, &mut differences));
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
