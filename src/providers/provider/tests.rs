//! Where requests go: every kind of provider and every kind of request.

use bytes::Bytes;

use super::*;
use crate::llm::body::Body;
use crate::llm::Wire;
use crate::providers::Task;

const MODEL: &str = "m";

fn ask(wire: Wire, path: &str) -> Ask<'_> {
    Ask { wire, path, query: None, model: Some(MODEL), stream: false, version: None }
}

fn chat() -> Ask<'static> {
    ask(Wire::Chat, "/v1/chat/completions")
}

fn messages() -> Ask<'static> {
    ask(Wire::Messages, "/v1/messages")
}

fn responses() -> Ask<'static> {
    ask(Wire::Responses, "/v1/responses")
}

fn generate() -> Ask<'static> {
    ask(Wire::Gemini, "/v1beta/models/asked:generateContent")
}

/// A site as the configuration makes it from a base path.
fn site(base: &str) -> Site {
    Site { base: base.into(), ..Site::default() }
}

fn project(location: &str) -> Site {
    Site { project: Some(("p".into(), location.into())), ..Site::default() }
}

/// The dialect, whether it is the client's, and the path.
fn goes(kind: Kind, site: &Site, ask: Ask) -> Option<(Wire, bool, String)> {
    kind.provider().route(site, &ask).map(|route| (route.wire, route.native, route.path_and_query))
}

fn path(kind: Kind, site: &Site, ask: Ask) -> String {
    goes(kind, site, ask).map(|(.., path)| path).unwrap_or_default()
}

#[test]
fn every_kind_has_its_own_row_and_the_spelling_of_the_file() {
    for row in &PROVIDERS {
        assert_eq!(serde_json::to_value(row.kind).unwrap(), row.name);
        assert!(std::ptr::eq(Provider::of(row.kind), row), "{}", row.name);
        if let Home::At(home) = row.home {
            assert!(!home.ends_with('/') && !home.ends_with("/v1"), "{home}");
        }
    }
}

#[test]
fn hosts_that_know_the_older_name_of_the_longest_answer_are_known() {
    let shortens = PROVIDERS.iter().filter(|row| row.habits.renamed.contains(&SHORTER)).map(|row| row.name);
    assert_eq!(shortens.collect::<Vec<_>>(), ["deepinfra", "ollama", "mistral", "together", "deepseek"]);
}

#[test]
fn hosts_that_want_to_hear_their_thoughts_again_are_known() {
    let thoughtful = PROVIDERS.iter().filter(|row| row.habits.thoughts).map(|row| row.name);
    assert_eq!(thoughtful.collect::<Vec<_>>(), ["openai", "openrouter", "deepseek"]);
}

#[test]
fn a_host_of_the_openai_dialect_gets_its_own_untouched_and_the_rest_as_chat() {
    let here = site("/api");
    let query = Some("a=1");
    for (asked, there) in [
        (chat(), "/api/v1/chat/completions?a=1"),
        (responses(), "/api/v1/responses?a=1"),
        (ask(Wire::Completions, "/v1/completions"), "/api/v1/completions?a=1"),
        (ask(Wire::Opaque, "/v1/embeddings"), "/api/v1/embeddings?a=1"),
        (ask(Wire::Objects, "/v1/files/f"), "/api/v1/files/f?a=1"),
        (ask(Wire::Opaque, "/v1/whatever/comes"), "/api/v1/whatever/comes?a=1"),
    ] {
        let found = goes(Kind::OpenAi, &here, Ask { query, ..asked });
        assert_eq!(found, Some((asked.wire, true, there.to_owned())));
    }
    for asked in [messages(), generate()] {
        let found = goes(Kind::OpenAi, &here, Ask { query, ..asked });
        assert_eq!(found, Some((Wire::Chat, false, "/api/v1/chat/completions".to_owned())));
    }
    for other in ["/v1/messages/count_tokens", "/v1/messages/batches", "/v1beta/models/m:embedContent"] {
        assert_eq!(goes(Kind::OpenAi, &here, ask(Wire::Opaque, other)), None, "{other}");
    }
    let files = ask(Wire::Objects, "/v1/files");
    assert_eq!(goes(Kind::OpenAi, &here, Ask { version: Some("2026-10-21"), ..files }), None);
}

#[test]
fn a_vendor_without_the_responses_api_is_asked_in_chat() {
    let here = site("");
    assert_eq!(path(Kind::Groq, &here, responses()), "/v1/responses");
    for kind in [Kind::Mistral, Kind::Cerebras, Kind::Together, Kind::DeepSeek] {
        let found = goes(kind, &here, responses());
        assert_eq!(found, Some((Wire::Chat, false, "/v1/chat/completions".to_owned())), "{kind:?}");
        assert_eq!(goes(kind, &here, ask(Wire::Objects, "/v1/responses/r")), None, "{kind:?}");
    }
    assert_eq!(goes(Kind::Groq, &here, ask(Wire::Opaque, "/v1/embeddings")), None);
    let older = ask(Wire::Completions, "/v1/completions");
    assert_eq!(path(Kind::Together, &here, older), "/v1/completions");
    assert_eq!(path(Kind::Groq, &here, older), "/v1/chat/completions");
    assert_eq!(path(Kind::Anthropic, &here, older), "/v1/messages");
    assert_eq!(path(Kind::DeepInfra, &site("/v1/openai"), chat()), "/v1/openai/chat/completions");
}

#[test]
fn members_that_a_vendor_refuses_are_edited_out_of_what_passes_through() {
    let route = |kind: Kind, asked: Ask| kind.provider().route(&site(""), &asked).unwrap();
    let sent = |kind, asked, body: &'static str| {
        let body = Bytes::from_static(body.as_bytes());
        let body = Body::spliced(&body, route(kind, asked).edits(&body)).contiguous();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let body = r#"{"user":"u", "seed":7, "max_completion_tokens":5, "model":"m"}"#;
    let there = r#"{"random_seed":7, "max_tokens":5, "model":"m"}"#;
    assert_eq!(sent(Kind::Mistral, chat(), body), there);
    assert_eq!(sent(Kind::OpenAi, chat(), body), body);
    assert_eq!(sent(Kind::Mistral, ask(Wire::Opaque, "/v1/embeddings"), body), body);
    assert!(!route(Kind::Mistral, chat()).takes("stream_options"));
    assert!(route(Kind::OpenAi, chat()).takes("stream_options"));
}

#[test]
fn azure_with_a_dated_version_has_a_path_per_deployment() {
    let here = Site { api_version: Some("2024-10-21".into()), ..site("/openai") };
    let form = ask(Wire::Opaque, "/v1/audio/transcriptions");
    for (asked, there) in [
        (chat(), "/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        (form, "/openai/deployments/m/audio/transcriptions?api-version=2024-10-21"),
        (
            Ask { model: None, query: Some("limit=2&api-version=x"), ..ask(Wire::Objects, "/v1/files") },
            "/openai/files?api-version=2024-10-21&limit=2",
        ),
    ] {
        assert_eq!(path(Kind::Azure, &here, asked), there);
        assert_eq!(path(Kind::Azure, &Site { base: String::new(), ..here.clone() }, asked), there);
    }
    let chat_instead = "/openai/deployments/m/chat/completions?api-version=2024-10-21".to_owned();
    assert_eq!(goes(Kind::Azure, &here, responses()), Some((Wire::Chat, false, chat_instead)));
    let preview = Site { api_version: Some("2025-04-01-preview".into()), ..site("") };
    assert_eq!(path(Kind::Azure, &preview, responses()), "/openai/responses?api-version=2025-04-01-preview");
    let odd = Ask { model: Some("../x;y"), ..chat() };
    assert!(path(Kind::Azure, &here, odd).starts_with("/openai/deployments/..%2Fx%3By/chat/"));
    assert_eq!((Kind::Azure.provider().models)(&here), None);
}

#[test]
fn a_socket_goes_to_hosts_of_the_openai_dialect_only() {
    let socket = Ask { query: Some("model=m&x=1"), ..ask(Wire::Opaque, "/v1/realtime") };
    let there = |kind| goes(kind, &site(""), socket).map(|(.., path)| path);
    let as_it_came = Some("/v1/realtime?model=m&x=1".to_owned());
    assert_eq!((there(Kind::OpenAi), there(Kind::Proxy)), (as_it_came.clone(), as_it_came));
    assert_eq!(there(Kind::Azure).as_deref(), Some("/openai/v1/realtime?model=m&x=1"));
    let older = Site { api_version: Some("2025-04-01-preview".into()), ..site("") };
    let deployed = "/openai/realtime?api-version=2025-04-01-preview&deployment=m&x=1";
    assert_eq!(path(Kind::Azure, &older, socket), deployed);
    for kind in [Kind::Anthropic, Kind::Gemini, Kind::VertexAi, Kind::Groq, Kind::Mistral] {
        assert_eq!(there(kind), None, "{kind:?}");
    }
}

#[test]
fn azure_without_a_dated_version_is_openai_below_its_own_prefix() {
    for base in ["/openai", ""] {
        assert_eq!(path(Kind::Azure, &site(base), chat()), "/openai/v1/chat/completions");
        assert_eq!(path(Kind::Azure, &site(base), responses()), "/openai/v1/responses");
    }
    let preview = Site { api_version: Some("preview".into()), ..site("") };
    assert_eq!(path(Kind::Azure, &preview, responses()), "/openai/v1/responses?api-version=preview");
    let listing = (Kind::Azure.provider().models)(&site("/openai"));
    assert_eq!(listing.as_deref(), Some("/openai/v1/models"));
}

#[test]
fn anthropic_is_asked_in_messages_whatever_the_client_speaks() {
    let here = site("");
    let query = Some("beta=true");
    let found = goes(Kind::Anthropic, &here, Ask { query, ..messages() });
    assert_eq!(found, Some((Wire::Messages, true, "/v1/messages?beta=true".to_owned())));
    for asked in [chat(), responses(), generate()] {
        let found = goes(Kind::Anthropic, &here, Ask { query, ..asked });
        assert_eq!(found, Some((Wire::Messages, false, "/v1/messages".to_owned())));
    }
    let count = ask(Wire::Opaque, "/v1/messages/count_tokens");
    assert_eq!(path(Kind::Anthropic, &here, count), "/v1/messages/count_tokens");
    let count = ask(Wire::Opaque, "/v1beta/models/m:countTokens");
    let route = Kind::Anthropic.provider().route(&here, &count).unwrap();
    assert_eq!((route.task, route.native), (Task::Count, false));
    let files = ask(Wire::Objects, "/v1/files");
    assert_eq!(goes(Kind::Anthropic, &here, files), None);
    assert_eq!(path(Kind::Anthropic, &here, Ask { version: Some("2023-06-01"), ..files }), "/v1/files");
    assert_eq!(goes(Kind::Anthropic, &here, ask(Wire::Opaque, "/v1/embeddings")), None);
}

#[test]
fn gemini_has_the_model_in_its_path_and_streams_as_events() {
    let here = site("");
    let plain = "/v1beta/models/m:generateContent".to_owned();
    assert_eq!(goes(Kind::Gemini, &here, chat()), Some((Wire::Gemini, false, plain.clone())));
    let own = Ask { query: Some("key=AIza&x=1&alt=json"), ..generate() };
    assert_eq!(goes(Kind::Gemini, &here, own), Some((Wire::Gemini, true, format!("{plain}?x=1"))));
    let streamed = "/v1beta/models/m:streamGenerateContent?alt=sse";
    for asked in [messages(), generate()] {
        assert_eq!(path(Kind::Gemini, &here, Ask { stream: true, ..asked }), streamed);
    }
    let tuned = Ask { model: Some("tunedModels/t"), ..chat() };
    assert_eq!(path(Kind::Gemini, &site("/v1beta"), tuned), "/v1beta/tunedModels/t:generateContent");
    let named = Ask { model: Some("models/a/../b?c"), ..chat() };
    assert_eq!(path(Kind::Gemini, &here, named), "/v1beta/models/a%2F..%2Fb%3Fc:generateContent");
    for odd in ["", "..", "models/..", "models/"] {
        assert_eq!(goes(Kind::Gemini, &here, Ask { model: Some(odd), ..chat() }), None, "{odd:?}");
    }
}

#[test]
fn gemini_counts_and_embeds_and_has_no_files_of_openais() {
    let here = site("");
    let task =
        |asked: Ask| Kind::Gemini.provider().route(&here, &asked).map(|route| (route.task, route.native));
    let count = "/v1beta/models/asked:countTokens";
    assert_eq!(task(ask(Wire::Opaque, count)), Some((Task::Count, true)));
    assert_eq!(path(Kind::Gemini, &here, ask(Wire::Opaque, count)), "/v1beta/models/m:countTokens");
    assert_eq!(task(ask(Wire::Opaque, "/v1/messages/count_tokens")), Some((Task::Count, false)));
    let embed = ask(Wire::Opaque, "/v1/embeddings");
    assert_eq!(task(embed), Some((Task::Embed, false)));
    assert_eq!(path(Kind::Gemini, &here, embed), "/v1beta/models/m:batchEmbedContents");
    let own = ask(Wire::Opaque, "/v1beta/models/asked:embedContent");
    assert_eq!(task(own), Some((Task::AsItCame, true)));
    assert_eq!(path(Kind::Gemini, &here, own), "/v1beta/models/m:embedContent");
    for other in ["/v1/files", "/v1/images/variations"] {
        assert_eq!(task(ask(Wire::Objects, other)), None, "{other}");
    }
}

#[test]
fn google_draws_by_the_operation_of_the_model() {
    let drawn = |kind: Kind, path, model| {
        let asked = Ask { model: Some(model), ..ask(Wire::Opaque, path) };
        let route = kind.provider().route(&site(""), &asked)?;
        assert_eq!((route.task, route.native), (Task::Draw, false));
        Some(route.path_and_query)
    };
    let (generations, edits) = ("/v1/images/generations", "/v1/images/edits");
    let at = |path: &str| Some(path.to_owned());
    assert_eq!(drawn(Kind::Gemini, generations, "g"), at("/v1beta/models/g:generateContent"));
    assert_eq!(drawn(Kind::Gemini, edits, "g"), at("/v1beta/models/g:generateContent"));
    assert_eq!(drawn(Kind::Gemini, generations, "imagen-4"), at("/v1beta/models/imagen-4:predict"));
    assert_eq!(drawn(Kind::Gemini, edits, "imagen-4"), None);
    let vertex = at("/v1/publishers/google/models/imagen-4:predict");
    assert_eq!(drawn(Kind::VertexAi, generations, "imagen-4"), vertex);
    assert_eq!(drawn(Kind::VertexAi, generations, "claude-x"), None);
    assert_eq!(drawn(Kind::Anthropic, generations, "claude-x"), None);
}

#[test]
fn vertex_finds_the_publisher_by_the_model() {
    let here = project("global");
    let root = "/v1/projects/p/locations/global";
    let asked = |model| path(Kind::VertexAi, &here, Ask { model: Some(model), ..chat() });
    assert_eq!(asked("gemini-3"), format!("{root}/publishers/google/models/gemini-3:generateContent"));
    assert_eq!(
        asked("publishers/google/models/g"),
        format!("{root}/publishers/google/models/g:generateContent")
    );
    assert_eq!(asked("endpoints/77"), format!("{root}/endpoints/77:generateContent"));
    let claude = format!("{root}/publishers/anthropic/models/claude-x@20260101:rawPredict");
    assert_eq!(asked("claude-x@20260101"), claude);
    assert_eq!(asked("publishers/anthropic/models/claude-x@20260101"), claude);
    assert_eq!(asked("publishers/meta/models/llama"), "");
    assert_eq!(asked("endpoints/../../x;y"), format!("{root}/endpoints/..%2F..%2Fx%3By:generateContent"));
    let odd = Site { project: Some(("a/../b".into(), "..".into())), ..Site::default() };
    assert_eq!(goes(Kind::VertexAi, &odd, chat()), None);
    let odd = Site { project: Some(("a/../b".into(), "eu".into())), ..Site::default() };
    assert!(path(Kind::VertexAi, &odd, chat()).starts_with("/v1/projects/a%2F..%2Fb/locations/eu/"));
}

#[test]
fn claude_on_vertex_has_its_version_in_the_body_and_its_model_in_the_path() {
    let here = project("eu");
    let claude = Ask { model: Some("claude-x"), query: Some("beta=true"), stream: true, ..messages() };
    let route = Kind::VertexAi.provider().route(&here, &claude).unwrap();
    let expected = "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x:streamRawPredict";
    assert_eq!((route.path_and_query.as_str(), route.native), (expected, true));
    let sent = |asked: &Ask, body: &'static str| {
        let body = Bytes::from_static(body.as_bytes());
        let route = Kind::VertexAi.provider().route(&here, asked).unwrap();
        String::from_utf8(Body::spliced(&body, route.edits(&body)).contiguous().to_vec()).unwrap()
    };
    let body = r#"{"model":"c","stream":true,"messages":[]}"#;
    let there = r#"{"anthropic_version":"2026-10-21","stream":true,"messages":[]}"#;
    assert_eq!(sent(&claude, body), there);
    let first = Ask { version: Some("2023-06-01"), ..claude };
    assert_eq!(sent(&first, body), there.replace("2026-10-21", "vertex-2023-10-16"));
    let count = Ask { model: Some("claude-x"), ..ask(Wire::Opaque, "/v1/messages/count_tokens") };
    assert!(path(Kind::VertexAi, &here, count).ends_with("/models/count-tokens:rawPredict"));
    assert_eq!(sent(&count, body), body);
    assert_eq!(goes(Kind::VertexAi, &Site::default(), claude), None, "a key knows no Claude");
}

#[test]
fn vertex_with_a_key_needs_no_project() {
    let gemini = path(Kind::VertexAi, &Site::default(), chat());
    assert_eq!(gemini, "/v1/publishers/google/models/m:generateContent");
    let embed = |model| {
        path(
            Kind::VertexAi,
            &Site::default(),
            Ask { model: Some(model), ..ask(Wire::Opaque, "/v1/embeddings") },
        )
    };
    assert!(embed("text-embedding-005").ends_with("/models/text-embedding-005:predict"));
    assert!(embed("gemini-embedding-2").ends_with("/models/gemini-embedding-2:embedContent"));
}

#[test]
fn each_location_of_vertex_has_its_host() {
    for (location, host) in [
        (None, "aiplatform.googleapis.com"),
        (Some("global"), "aiplatform.googleapis.com"),
        (Some("eu"), "aiplatform.eu.rep.googleapis.com"),
        (Some("us"), "aiplatform.us.rep.googleapis.com"),
        (Some("europe-west4"), "europe-west4-aiplatform.googleapis.com"),
    ] {
        assert_eq!(vertex::home(location), Some(format!("https://{host}")));
    }
    for odd in ["", "a/b", "evil.example/", "US", "a b", "@"] {
        assert_eq!(vertex::home(Some(odd)), None, "{odd}");
    }
}

#[test]
fn another_router_gets_everything_as_it_came_but_for_the_model_in_a_path() {
    let here = site("");
    let version = Some("2023-06-01");
    for asked in [chat(), messages(), responses(), ask(Wire::Objects, "/v1/files")] {
        let found = goes(Kind::Proxy, &here, Ask { query: Some("a=1"), version, ..asked });
        assert_eq!(found, Some((asked.wire, true, format!("{}?a=1", asked.path))));
    }
    let own = Ask { stream: true, query: Some("alt=sse&key=AIza"), ..generate() };
    let own = Ask { path: "/v1beta/models/asked:streamGenerateContent", ..own };
    assert_eq!(path(Kind::Proxy, &here, own), "/v1beta/models/m:streamGenerateContent?alt=sse");
}
