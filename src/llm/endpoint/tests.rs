//! Paths and what they mean.

use super::*;

fn door(method: &str, path: &str, sent: Sent) -> Door {
    Endpoint::of(&method.parse().unwrap(), path).door(sent)
}

fn template(path: &str) -> &'static str {
    Endpoint::of(&Method::GET, path).template()
}

#[test]
fn labels_are_bounded() {
    for (path, label) in [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/files/file-1", "/v1/files/{id}"),
        ("/v1/files/file-1/content", "/v1/files/{id}/content"),
        ("/v1/responses/resp_1/cancel", "/v1/responses/{id}/*"),
        ("/v1/models/a/b/c", "/v1/models/*"),
        ("/v1/whatever/comes", "/v1/*"),
        ("/v1/", "other"),
        ("/v1", "other"),
        ("/wp-login.php", "other"),
        ("/v1/files//x", "other"),
        ("/v1/../metrics", "other"),
        ("/v1/files/%2e%2e/x", "other"),
        ("/v1/files/a%2Fb", "other"),
        ("/v1/chat/completions/", "other"),
    ] {
        assert_eq!(template(path), label, "{path}");
    }
}

#[test]
fn every_request_finds_its_door() {
    use Sent::*;
    for (method, path, sent, expected) in [
        ("POST", "/v1/chat/completions", Measured, Door::Converse),
        ("POST", "/v1/chat/completions", Nothing, Door::Converse),
        ("GET", "/v1/chat/completions", Nothing, Door::PassThrough),
        ("GET", "/v1/embeddings", Nothing, Door::Refuse),
        ("POST", "/v1/audio/transcriptions", Unmeasured, Door::Converse),
        ("POST", "/v1/files", Measured, Door::PassThrough),
        ("POST", "/v1/files", Unmeasured, Door::Converse),
        ("GET", "/v1/files", Nothing, Door::PassThrough),
        ("DELETE", "/v1/files/file-1", Nothing, Door::PassThrough),
        ("POST", "/v1/batches", Measured, Door::Converse),
        ("POST", "/v1/anything/else", Measured, Door::Converse),
        ("GET", "/v1/anything/else", Nothing, Door::PassThrough),
        ("GET", "/v1/realtime", Socket, Door::Socket),
        ("GET", "/v1/responses", Socket, Door::Socket),
        ("GET", "/v1/anything/else", Socket, Door::Socket),
        ("GET", "/v1/realtime", Nothing, Door::PassThrough),
        ("POST", "/v1/realtime", Measured, Door::Converse),
        ("POST", "/v1/realtime", Socket, Door::PassThrough),
        ("GET", "/v1/responses", Nothing, Door::Refuse),
        ("GET", "/v1/chat/completions", Socket, Door::PassThrough),
        ("GET", "/v1/models", Socket, Door::Local(Page::Models)),
        ("GET", "/nowhere", Socket, Door::Refuse),
        ("GET", "/v1/models", Nothing, Door::Local(Page::Models)),
        ("HEAD", "/v1/models/a%2Fb", Nothing, Door::Local(Page::Model("a/b".into()))),
        ("GET", "/v1/models/org/model:1", Nothing, Door::Local(Page::Model("org/model:1".into()))),
        ("DELETE", "/v1/models/ft:x", Nothing, Door::PassThrough),
        ("POST", "/v1/models", Measured, Door::Refuse),
        ("GET", "/", Nothing, Door::Local(Page::Root)),
        ("GET", "/health/ready", Nothing, Door::Local(Page::Ready)),
        ("POST", "/health", Nothing, Door::Refuse),
        ("GET", "/chat/completions", Nothing, Door::Refuse),
        ("POST", "/v1/v1/chat/completions", Measured, Door::Refuse),
    ] {
        assert_eq!(door(method, path, sent), expected, "{method} {path}");
    }
}

#[test]
fn a_wrong_path_is_told_the_right_one() {
    for (path, right) in [
        ("/chat/completions", Some("/v1/chat/completions")),
        ("/openai/v1/chat/completions", Some("/v1/chat/completions")),
        ("/openai/deployments/gpt/chat/completions", Some("/v1/chat/completions")),
        ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
        ("//v1//embeddings/", Some("/v1/embeddings")),
        ("/api/files/file-1", Some("/v1/files/file-1")),
        ("/models", Some("/v1/models")),
        ("/helth", Some("/health")),
        ("/wp-login.php", None),
        ("/", None),
    ] {
        assert_eq!(Endpoint::nearest(path).as_deref(), right, "{path}");
    }
    assert_eq!(Endpoint::of(&Method::GET, "/v1/embeddings").allow(), Some("POST"));
    assert_eq!(Endpoint::of(&Method::GET, "/chat/completions").allow(), None);
}

#[test]
fn ids_in_paths_are_found() {
    let ids = |path: &str| {
        let endpoint = Endpoint::of(&Method::GET, path);
        endpoint.ids().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids("/v1/files/file-1"), ["file-1"]);
    assert_eq!(ids("/v1/files/file-1/content"), ["file-1"]);
    assert_eq!(ids("/v1/responses/resp_1/input_items"), ["resp_1", "input_items"]);
    assert_eq!(ids("/v1/vector_stores/vs_1/files/file-2"), ["vs_1", "files", "file-2"]);
    assert!(ids("/v1/files").is_empty());
    assert!(ids("/v1/chat/completions").is_empty());
}

#[test]
fn ids_in_queries_are_found() {
    assert_eq!(Endpoint::cursors("limit=2&after=file-1&before=batch%5F2"), ["file-1", "batch_2"]);
    assert!(Endpoint::cursors("after=&afterwards=file-1&order=desc&after").is_empty());
}

#[test]
fn a_list_of_stored_chats_gives_ids_and_a_chat_does_not() {
    let gives_ids = |method, path: &str| Endpoint::of(&method, path).gives_ids();
    assert!(gives_ids(Method::GET, "/v1/chat/completions") && gives_ids(Method::POST, "/v1/vector_stores"));
    assert!(!gives_ids(Method::POST, "/v1/chat/completions"));
}

#[test]
fn pages_need_no_key_at_the_doorstep_and_the_api_does() {
    let open = |path: &str| Endpoint::of(&Method::GET, path).is_open();
    assert!(["/", "/health", "/metrics", "/vhealth"].into_iter().all(open));
    assert!(!["/v1/models", "/v1/models/x", "/v1/files", "/nowhere"].into_iter().any(open));
}

#[test]
fn geminis_paths_name_the_model_and_the_verb() {
    for (path, template, model, streams) in [
        ("/v1beta/models/gemini-pro:generateContent", "generateContent", "gemini-pro", false),
        ("/v1/models/gemini-pro:streamGenerateContent", "streamGenerateContent", "gemini-pro", true),
        ("/v1beta/models/a%2Fb:c:generateContent", "generateContent", "a/b:c", false),
    ] {
        let endpoint = Endpoint::of(&Method::POST, path);
        assert_eq!(endpoint.template(), format!("/v1beta/models/{{id}}:{template}"));
        assert_eq!((endpoint.path_model(), endpoint.path_streams()), (Some(model), streams));
        assert_eq!((endpoint.door(Sent::Measured), endpoint.wire()), (Door::Converse, Wire::Gemini));
        assert_eq!(endpoint.tongue(), Wire::Gemini);
    }
    let unknown = Endpoint::of(&Method::POST, "/v1beta/models/gemini-pro:destroy");
    assert_eq!(unknown.door(Sent::Measured), Door::Refuse);
    let listed = Endpoint::of(&Method::GET, "/v1/models/ft:gpt-4o:org::id");
    assert_eq!(listed.door(Sent::Nothing), Door::Local(Page::Model("ft:gpt-4o:org::id".to_owned())));
}

#[test]
fn a_providers_name_before_the_path_means_nothing() {
    let messages = Endpoint::of(&Method::POST, "/anthropic/v1/messages");
    assert_eq!((messages.path(), messages.tongue()), ("/v1/messages", Wire::Messages));
    let chat = Endpoint::of(&Method::POST, "/openai/v1/chat/completions");
    assert_eq!((chat.path(), chat.tongue()), ("/v1/chat/completions", Wire::Chat));
    assert!(Endpoint::of(&Method::POST, "/anthropic/v1/messages/count_tokens").counts_tokens());
    assert_eq!(Endpoint::of(&Method::POST, "/mistral/v1/messages").door(Sent::Measured), Door::Refuse);
}
