//! Pins: an id belongs to the credential whose account it lives in, across restarts, and to nobody else.

use serde_json::{json, Value};

use crate::support::*;

/// A provider with an account per key: it knows only the ids it gave to that key.
fn accounts(call: &Call) -> Reply {
    let account = call.key.clone().unwrap_or_default();
    let mine = account.replace("sk-upstream-", "").replace("-0123456789", "");
    let path = call.path.split('?').next().unwrap_or_default();
    let unknown = || respond(404).error("No such object", "invalid_request_error", None);
    match (call.method.as_str(), path) {
        ("POST", "/v1/files") => {
            respond(200).json(&json!({"id": format!("file-{mine}-{}", call.number), "object": "file"}))
        }
        ("POST", "/v1/responses") => {
            let previous = call.json()["previous_response_id"].as_str().map(str::to_string);
            if previous.is_some_and(|id| !id.contains(&format!("-{mine}-"))) {
                return unknown();
            }
            respond(200).json(&json!({"id": format!("resp-{mine}-{}", call.number), "object": "response",
                "status": "completed", "model": call.model(), "output": []}))
        }
        ("POST", "/v1/vector_stores") => {
            respond(200).json(&json!({"id": format!("vs-{mine}-{}", call.number)}))
        }
        ("POST", "/v1/chat/completions") => {
            let id = format!("chatcmpl-{mine}-{}", call.number);
            if call.wants_stream() {
                let frames = chat_frames("m", &["Hi"], false).into_iter();
                return respond(200).sse(frames.map(|frame| frame.replace("chatcmpl-1", &id)));
            }
            let mut body = reply::chat_body("m", "Hi", 7, 5);
            body["id"] = json!(id);
            respond(200).json(&body)
        }
        ("GET", "/v1/files") => match call.path.split_once("after=") {
            Some((_, id)) if !id.contains(&format!("-{mine}-")) => unknown(),
            _ => respond(200).json(&json!({"object": "list", "data": [], "account": mine})),
        },
        ("POST", "/v1/batches") => {
            let file = call.json()["input_file_id"].as_str().unwrap_or_default().to_string();
            if !file.contains(&format!("-{mine}-")) {
                return unknown();
            }
            respond(200).json(&json!({"id": format!("batch-{mine}-{}", call.number), "object": "batch", "input_file_id": file}))
        }
        (_, path) if path.contains(&format!("-{mine}-")) => {
            respond(200).json(&json!({"path": path, "account": mine}))
        }
        _ => unknown(),
    }
}

fn upload(router: &Router) -> String {
    let boundary = "XBOUNDARYX";
    let body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{boundary}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{{}}\r\n--{boundary}--\r\n"
    );
    let request = Request::post("/v1/files").body(&format!("multipart/form-data; boundary={boundary}"), body);
    request.send(router).expect(200).json()["id"].as_str().unwrap().to_string()
}

fn two_accounts() -> (Upstream, Router) {
    let upstream = Upstream::scripted(accounts);
    let router = Config::pool(&["red", "blue"], &upstream.url()).start();
    (upstream, router)
}

#[test]
fn files_stay_with_the_account_that_has_them_across_a_restart() {
    let (_upstream, router) = two_accounts();
    let files: Vec<_> = (0..4).map(|_| upload(&router)).collect();
    assert!(
        files.iter().any(|f| f.contains("-red-")) && files.iter().any(|f| f.contains("-blue-")),
        "{files:?}"
    );
    let check = |router: &Router| {
        for file in &files {
            for path in [format!("/v1/files/{file}"), format!("/v1/files/{file}/content")] {
                router.get(&path).expect(200);
            }
        }
    };
    check(&router);
    let router = router.restart();
    check(&router);
    for file in &files {
        Request::new("DELETE", &format!("/v1/files/{file}")).send(&router).expect(200);
    }
}

#[test]
fn responses_and_batches_follow_the_ids_in_their_bodies() {
    let (_upstream, router) = two_accounts();
    let respond_to = |previous: Option<&Value>| {
        let mut body = json!({"model": "m", "input": "hi"});
        if let Some(id) = previous {
            body["previous_response_id"] = id.clone();
        }
        router.post("/v1/responses", &body).expect(200).json()["id"].clone()
    };
    let roots: Vec<_> = (0..4).map(|_| respond_to(None)).collect();
    for root in &roots {
        let next = respond_to(Some(root));
        respond_to(Some(&next));
        router.get(&format!("/v1/responses/{}", root.as_str().unwrap())).expect(200);
    }
    for _ in 0..2 {
        let file = upload(&router);
        let batch =
            router.post("/v1/batches", &json!({"input_file_id": file, "endpoint": "/v1/chat/completions"}));
        let batch = batch.expect(200).json()["id"].as_str().unwrap().to_string();
        router.get(&format!("/v1/batches/{batch}")).expect(200);
        router.post(&format!("/v1/batches/{batch}/cancel"), &json!({})).expect(200);
    }
}

#[test]
fn the_id_of_a_streamed_response_is_pinned_as_well() {
    let upstream = Upstream::scripted(|call| {
        if !call.wants_stream() {
            return accounts(call);
        }
        let id =
            format!("resp-{}-{}", if call.key == Some(key_of("red")) { "red" } else { "blue" }, call.number);
        let delta = json!({"type": "response.output_text.delta", "sequence_number": 1, "item_id": "i", "output_index": 0,
            "content_index": 0, "delta": "x"});
        let created = json!({"type": "response.created", "sequence_number": 0, "response": {"id": id}});
        let done = json!({"type": "response.completed", "sequence_number": 2, "response": {"id": id, "status": "completed", "output": []}});
        respond(200).sse([frame(&created), frame(&delta), frame(&done)])
    });
    let router = Config::pool(&["red", "blue"], &upstream.url()).start();
    for _ in 0..3 {
        let body = json!({"model": "m", "input": "hi", "stream": true});
        let all = Request::post("/v1/responses").json(&body).stream(&router).expect(200).rest();
        let id = all[0].json()["response"]["id"].as_str().unwrap().to_string();
        router
            .post("/v1/responses", &json!({"model": "m", "input": "go on", "previous_response_id": id}))
            .expect(200);
    }
}

#[test]
fn a_pinned_request_never_goes_to_another_account() {
    let upstream = Upstream::scripted(accounts);
    let router = Config::new()
        .fail2ban("max_attempts: 1\nban_duration: permanent")
        .credential("red", &upstream.url(), "")
        .credential("blue", &upstream.url(), "")
        .start();
    let file = (0..4).map(|_| upload(&router)).find(|id| id.contains("-red-")).expect("red has a file");
    upstream.set(|call| {
        if call.key == Some(key_of("red")) {
            respond(401).error("revoked", "auth", None)
        } else {
            accounts(call)
        }
    });
    let failed = router.get(&format!("/v1/files/{file}"));
    assert!(failed.status >= 500, "red's own failure: {}", failed.status);
    let before = upstream.calls_of(&key_of("blue")).len();
    let answer = router.get(&format!("/v1/files/{file}")).expect(409);
    let message = answer.message();
    assert!(message.contains("red") && message.contains("ban"), "the state is named: {message}");
    assert_eq!(upstream.calls_of(&key_of("blue")).len(), before, "it was asked of another account");
}

#[test]
fn a_body_that_names_ids_of_two_accounts_is_a_conflict() {
    let (_upstream, router) = two_accounts();
    let ids: Vec<_> = (0..4)
        .map(|_| {
            router.post("/v1/responses", &json!({"model": "m", "input": "hi"})).expect(200).json()["id"]
                .clone()
        })
        .collect();
    let file = (0..4).map(|_| upload(&router)).find(|f| f.contains("-blue-")).unwrap();
    let red = ids.iter().find(|id| id.as_str().unwrap().contains("-red-")).unwrap();
    let body = json!({"model": "m", "previous_response_id": red,
        "input": [{"role": "user", "content": [{"type": "input_file", "file_id": file}]}]});
    router.post("/v1/responses", &body).expect(409).error();
}

#[test]
fn two_models_of_one_pinned_account_do_not_matter() {
    let (upstream, router) = two_accounts();
    let file = upload(&router);
    for _ in 0..6 {
        router.get(&format!("/v1/files/{file}")).expect(200);
    }
    let keys: std::collections::HashSet<_> =
        upstream.calls().iter().filter(|c| c.method == "GET").map(|c| c.key.clone()).collect();
    assert_eq!(keys.len(), 1);
}

/// Makes things until both accounts have one; their ids.
fn one_of_each(mut make: impl FnMut() -> String) -> Vec<String> {
    let made: Vec<_> = (0..4).map(|_| make()).collect();
    assert!(["-red-", "-blue-"].iter().all(|mine| made.iter().any(|id| id.contains(mine))), "{made:?}");
    made
}

#[test]
fn a_page_of_a_list_is_asked_where_its_cursor_is_known() {
    let (_upstream, router) = two_accounts();
    for file in one_of_each(|| upload(&router)) {
        for _ in 0..2 {
            let page = router.get(&format!("/v1/files?limit=1&after={file}")).expect(200).json();
            assert!(file.contains(&format!("-{}-", page["account"].as_str().unwrap())), "{page}");
        }
    }
}

#[test]
fn a_vector_store_is_asked_where_it_lies() {
    let (_upstream, router) = two_accounts();
    let id = |answer: Answer| answer.json()["id"].as_str().unwrap().to_owned();
    for store in one_of_each(|| id(router.post("/v1/vector_stores", &json!({"name": "s"})).expect(200))) {
        router.get(&format!("/v1/vector_stores/{store}")).expect(200);
        router.get(&format!("/v1/vector_stores/{store}/files")).expect(200);
    }
}

#[test]
fn a_chat_that_is_kept_is_asked_where_it_lies() {
    let (_upstream, router) = two_accounts();
    let whole = |router: &Router| {
        let mut body = chat("m");
        body["store"] = json!(true);
        router.chat(&body).expect(200).json()["id"].as_str().unwrap().to_owned()
    };
    let streamed = |router: &Router| {
        let mut body = chat_streamed("m");
        body["store"] = json!(true);
        router.stream(&body).expect(200).rest()[0].json()["id"].as_str().unwrap().to_owned()
    };
    for id in one_of_each(|| whole(&router)).into_iter().chain(one_of_each(|| streamed(&router))) {
        router.get(&format!("/v1/chat/completions/{id}")).expect(200);
        router.get(&format!("/v1/chat/completions/{id}/messages")).expect(200);
    }
}

#[test]
fn a_chat_that_nobody_keeps_takes_no_room() {
    let (_upstream, router) = two_accounts();
    router.chat(&chat("m")).expect(200);
    router.stream(&chat_streamed("m")).expect(200).rest();
    upload(&router);
    let kept = || {
        let files = std::fs::read_dir(router.dir().join("state")).into_iter().flatten().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect::<String>()
    };
    until("the pin of the upload is written", || kept().contains("file-"));
    assert!(!kept().contains("chatcmpl-"), "{}", kept());
}

#[test]
fn an_id_of_a_credential_that_has_left_the_configuration_is_a_conflict_that_names_it() {
    let (upstream, router) = two_accounts();
    let files = one_of_each(|| upload(&router));
    let mut router = router;
    router.reconfigure(Config::pool(&["blue"], &upstream.url()));
    let router = router.restart();
    for file in files {
        let path = format!("/v1/files/{file}");
        if file.contains("-blue-") {
            router.get(&path).expect(200);
        } else {
            let message = router.get(&path).expect(409).message();
            assert!(message.contains("red") && message.contains("not configured any more"), "{message}");
        }
    }
}
