//! The table of all endpoints: one row each, which the router goes by and `/openapi.json` shows.

use super::super::Wire;

/// What an endpoint takes in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// The router answers it, and the page itself says to whom.
    Page,
    /// The router answers it, to key holders.
    Keyed,
    /// The router does something, for the master key.
    Act,
    /// JSON with a model.
    Model,
    /// JSON or a form in which the model may be missing.
    MayModel,
    /// A file; no model.
    Upload,
    /// Nothing by itself; what is sent may have a model.
    Anything,
}

/// What an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// Generated text, as JSON or a stream.
    Text,
    /// Other JSON.
    Json,
    /// JSON or something else, by what was asked.
    Either,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Row {
    /// With `{id}` for one segment, and `*` for all the rest.
    pub(super) template: &'static str,
    pub(super) takes: Takes,
    pub(super) gives: Gives,
    pub(super) wire: Wire,
    /// The methods; empty: any.
    pub(super) allow: &'static str,
    /// What it is, for `/docs`.
    pub(super) about: &'static str,
}

const fn row(
    template: &'static str,
    takes: Takes,
    gives: Gives,
    wire: Wire,
    allow: &'static str,
    about: &'static str,
) -> Row {
    Row { template, takes, gives, wire, allow, about }
}

const PAGE: &str = "GET, HEAD";
const POST: &str = "POST";

/// All of them; the first that fits holds.
pub(super) static ROWS: [Row; 71] = [
    row(
        "/v1/chat/completions",
        Takes::Model,
        Gives::Text,
        Wire::Chat,
        "GET, POST",
        "A chat completion; with GET, those that are stored",
    ),
    row(
        "/v1/completions",
        Takes::Model,
        Gives::Text,
        Wire::Completions,
        POST,
        "A completion of the older kind",
    ),
    row(
        "/v1/responses",
        Takes::Model,
        Gives::Text,
        Wire::Responses,
        POST,
        "A response; with GET, a WebSocket",
    ),
    row("/v1/embeddings", Takes::Model, Gives::Json, Wire::Opaque, POST, "Embeddings"),
    row("/v1/messages", Takes::Model, Gives::Text, Wire::Messages, POST, "A message, in Anthropic's words"),
    row("/v1/messages/batches", Takes::Anything, Gives::Json, Wire::Objects, "", "Batches of messages"),
    row(
        "/v1/messages/batches/{id}",
        Takes::Anything,
        Gives::Json,
        Wire::Objects,
        "",
        "One batch of messages",
    ),
    row(
        "/v1/messages/batches/{id}/*",
        Takes::Anything,
        Gives::Either,
        Wire::Objects,
        "",
        "Results or end of a batch of messages",
    ),
    row(
        "/v1/messages/count_tokens",
        Takes::Model,
        Gives::Json,
        Wire::Opaque,
        POST,
        "How many tokens a message has",
    ),
    row("/v1/moderations", Takes::MayModel, Gives::Json, Wire::Opaque, POST, "Moderation"),
    row("/v1/images/generations", Takes::MayModel, Gives::Json, Wire::Opaque, POST, "Images from a text"),
    row(
        "/v1/images/edits",
        Takes::MayModel,
        Gives::Json,
        Wire::Opaque,
        POST,
        "Images from an image and a text",
    ),
    row("/v1/images/variations", Takes::MayModel, Gives::Json, Wire::Opaque, POST, "Images from an image"),
    row("/v1/audio/speech", Takes::Model, Gives::Either, Wire::Opaque, POST, "Speech from a text"),
    row("/v1/audio/transcriptions", Takes::Model, Gives::Either, Wire::Opaque, POST, "A text from speech"),
    row(
        "/v1/audio/translations",
        Takes::Model,
        Gives::Either,
        Wire::Opaque,
        POST,
        "An English text from speech",
    ),
    row(
        "/v1beta/models/{id}:generateContent",
        Takes::Model,
        Gives::Text,
        Wire::Gemini,
        POST,
        "An answer, in Google's words",
    ),
    row(
        "/v1beta/models/{id}:streamGenerateContent",
        Takes::Model,
        Gives::Text,
        Wire::Gemini,
        POST,
        "The same as a stream of events (alt=sse)",
    ),
    row(
        "/v1beta/models/{id}:countTokens",
        Takes::Model,
        Gives::Json,
        Wire::Opaque,
        POST,
        "How many tokens contents have",
    ),
    row(
        "/v1beta/models/{id}:embedContent",
        Takes::Model,
        Gives::Json,
        Wire::Opaque,
        POST,
        "One embedding, in Google's words",
    ),
    row(
        "/v1beta/models/{id}:batchEmbedContents",
        Takes::Model,
        Gives::Json,
        Wire::Opaque,
        POST,
        "Embeddings, in Google's words",
    ),
    row(
        "/v1beta/models",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "The models that the key may use, as Google lists them",
    ),
    row("/v1beta/models/*", Takes::Keyed, Gives::Json, Wire::Opaque, PAGE, "One model, as Google tells it"),
    row("/v1/models", Takes::Keyed, Gives::Json, Wire::Opaque, PAGE, "The models that the key may use"),
    row(
        "/v1/models/*",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "One model; DELETE goes to the provider",
    ),
    row(
        "/v1/chat/completions/{id}",
        Takes::Anything,
        Gives::Json,
        Wire::Objects,
        "",
        "A stored chat completion",
    ),
    row(
        "/v1/chat/completions/{id}/*",
        Takes::Anything,
        Gives::Json,
        Wire::Objects,
        "",
        "Parts of a stored chat completion",
    ),
    row(
        "/v1/responses/input_tokens",
        Takes::Model,
        Gives::Json,
        Wire::Opaque,
        POST,
        "How many tokens an input has",
    ),
    row(
        "/v1/responses/compact",
        Takes::Model,
        Gives::Json,
        Wire::Opaque,
        POST,
        "A conversation made shorter",
    ),
    row("/v1/responses/{id}", Takes::Anything, Gives::Either, Wire::Objects, "", "A stored response"),
    row(
        "/v1/responses/{id}/*",
        Takes::Anything,
        Gives::Json,
        Wire::Objects,
        "",
        "Parts or the end of a stored response",
    ),
    row("/v1/conversations", Takes::Anything, Gives::Json, Wire::Objects, "", "Conversations"),
    row("/v1/conversations/{id}", Takes::Anything, Gives::Json, Wire::Objects, "", "One conversation"),
    row(
        "/v1/conversations/{id}/*",
        Takes::Anything,
        Gives::Json,
        Wire::Objects,
        "",
        "Parts of a conversation",
    ),
    row("/v1/files", Takes::Upload, Gives::Json, Wire::Objects, "", "Files"),
    row("/v1/files/{id}", Takes::Anything, Gives::Json, Wire::Objects, "", "One file"),
    row("/v1/files/{id}/content", Takes::Anything, Gives::Either, Wire::Opaque, "", "What is in a file"),
    row("/v1/uploads", Takes::Anything, Gives::Json, Wire::Objects, "", "Uploads in parts"),
    row("/v1/uploads/{id}/*", Takes::Upload, Gives::Json, Wire::Objects, "", "Parts or the end of an upload"),
    row("/v1/batches", Takes::Anything, Gives::Json, Wire::Objects, "", "Batches"),
    row("/v1/batches/{id}", Takes::Anything, Gives::Json, Wire::Objects, "", "One batch"),
    row("/v1/batches/{id}/cancel", Takes::Anything, Gives::Json, Wire::Objects, "", "The end of a batch"),
    row("/v1/vector_stores", Takes::Anything, Gives::Json, Wire::Objects, "", "Vector stores"),
    row(
        "/v1/vector_stores/*",
        Takes::Anything,
        Gives::Either,
        Wire::Objects,
        "",
        "One vector store and what is in it",
    ),
    row("/v1/fine_tuning/*", Takes::Anything, Gives::Either, Wire::Objects, "", "Fine-tuning"),
    row("/v1/realtime", Takes::Anything, Gives::Either, Wire::Opaque, "", "A WebSocket with a model"),
    row("/v1/usage", Takes::Keyed, Gives::Json, Wire::Opaque, PAGE, "What has been used of which limits"),
    row("/v1/*", Takes::Anything, Gives::Either, Wire::Opaque, "", "Whatever else the provider has"),
    row(
        "/",
        Takes::Page,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "What this is; for key holders its services and how keys are shown",
    ),
    row(
        "/health",
        Takes::Page,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "Whether anything can be served; for key holders in detail",
    ),
    row("/health/live", Takes::Page, Gives::Json, Wire::Opaque, PAGE, "Whether the process answers"),
    row("/health/ready", Takes::Page, Gives::Json, Wire::Opaque, PAGE, "Whether requests are welcome"),
    row("/vhealth", Takes::Page, Gives::Either, Wire::Opaque, PAGE, "The state on a page"),
    row("/vhealth/events", Takes::Page, Gives::Either, Wire::Opaque, "GET", "What changes on that page"),
    row("/vhealth/login", Takes::Page, Gives::Either, Wire::Opaque, POST, "A key, once, for a cookie"),
    row("/vhealth/logout", Takes::Page, Gives::Either, Wire::Opaque, POST, "The cookie is given back"),
    row(
        "/explain",
        Takes::Page,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "Who would serve a model, and why not others",
    ),
    row("/trace", Takes::Page, Gives::Json, Wire::Opaque, PAGE, "This router and all behind it"),
    row("/metrics", Takes::Page, Gives::Either, Wire::Opaque, PAGE, "Metrics for Prometheus"),
    row(
        "/backend/info",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "The services behind the router, and how they do",
    ),
    row(
        "/router/stats",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "Requests, failures and failovers by service",
    ),
    row("/router/health", Takes::Keyed, Gives::Json, Wire::Opaque, PAGE, "The state of each service"),
    row(
        "/router/rate-limits",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "What is left of each service's limits",
    ),
    row(
        "/router/reset-stats",
        Takes::Act,
        Gives::Json,
        Wire::Opaque,
        POST,
        "Statistics of services begin anew",
    ),
    row(
        "/auth/status",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "Whether keys are asked for, and how many there are",
    ),
    row(
        "/auth/metrics",
        Takes::Keyed,
        Gives::Json,
        Wire::Opaque,
        PAGE,
        "Requests by key: one's own, or with the master key all",
    ),
    row("/auth/reload-keys", Takes::Act, Gives::Json, Wire::Opaque, POST, "The configuration is read again"),
    row("/auth/reset-metrics", Takes::Act, Gives::Json, Wire::Opaque, POST, "Counts of keys begin anew"),
    row("/openapi.json", Takes::Keyed, Gives::Json, Wire::Opaque, PAGE, "This description"),
    row("/docs", Takes::Keyed, Gives::Either, Wire::Opaque, PAGE, "This description on a page"),
    row("/redoc", Takes::Keyed, Gives::Either, Wire::Opaque, PAGE, "The same page"),
];

/// What a path outside the table counts as.
pub(super) static NOWHERE: Row = row("other", Takes::Page, Gives::Json, Wire::Opaque, "", "");
