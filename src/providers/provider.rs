//! The table of providers: one row for each `type` of credential, and nothing about any of them outside this room.
//!
//! A new host of the OpenAI dialect is a new row. Rows tell what is known to differ; what a row does not name goes on as
//! it came, so that an endpoint which a host adds tomorrow works tomorrow. Sources: the hosts' API references and
//! OpenAI-compatibility pages; Cerebras: its "OpenAI compatibility"; Groq: its "OpenAI compatibility"; Mistral: its
//! OpenAPI document, whose request bodies admit no other members; Ollama: its `docs/openai.md`.

use http::header::{HeaderName, AUTHORIZATION};

use super::kind::Kind;
use super::route::{Ask, Route, Site};
use super::{anthropic, azure, chained, gemini, openai, vertex};
use crate::dialect::Habits;

/// How a key is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer`, also for tokens.
    Bearer,
    /// The key alone, in this header.
    Header(&'static str),
}

/// Where a provider lives, if the file does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// At this base URL.
    At(&'static str),
    /// Where its location says.
    OfLocation,
    /// The file must say. What to write there.
    Unknown(&'static str),
}

/// What makes a key needless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNeed {
    /// There must be one.
    Required,
    /// There may be one.
    Optional,
    /// There must be one, or a service account.
    OrServiceAccount,
}

/// What clients' `anthropic-…` headers are to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Nothing.
    Strange,
    /// They go on; a request without a version gets one.
    Needed,
    /// `anthropic-beta` goes on; the version is in the body.
    BetaOnly,
    /// They go on as they came.
    Passed,
}

/// One kind of provider.
pub struct Provider {
    /// The kind.
    pub kind: Kind,
    /// Its spelling in the file.
    pub name: &'static str,
    /// The base URL of a credential that gives none.
    pub home: Home,
    /// How its key is presented.
    pub auth: Auth,
    /// Whether it needs one.
    pub key: KeyNeed,
    /// Keys of the file that are for this kind alone.
    pub own_keys: &'static [&'static str],
    /// How it differs from others of its dialect.
    pub habits: Habits,
    /// Beginnings of paths that it does not serve.
    pub lacks: &'static [&'static str],
    /// Whether it has `/v1/responses`.
    pub has_responses: bool,
    /// Its base URL has the version inside, and paths below have none.
    pub unversioned: bool,
    /// What it makes of Anthropic's headers.
    pub versions: Versions,
    /// It is a router like this one.
    pub is_router: bool,
    pub(super) route: fn(&Provider, &Site, &Ask) -> Option<Route>,
    /// The path and query of its model list, if it has one that says what can be asked for.
    pub models: fn(&Site) -> Option<String>,
}

impl Auth {
    /// The header and its value for a key or a token.
    pub fn header(self, key: &str) -> (HeaderName, String) {
        match self {
            Self::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
            Self::Header(name) => (HeaderName::from_static(name), key.to_owned()),
        }
    }
}

impl Provider {
    /// The row of a kind.
    pub fn of(kind: Kind) -> &'static Self {
        PROVIDERS.iter().find(|row| row.kind == kind).unwrap_or(&PROVIDERS[0])
    }

    /// Where a request goes at this provider. None: it has nothing like it.
    pub fn route(&self, site: &Site, ask: &Ask) -> Option<Route> {
        (self.route)(self, site, ask)
    }
}

const PLAIN: Habits = Habits {
    vertex: false,
    functions_only: false,
    thoughts: false,
    prefix: false,
    refused: &[],
    renamed: &[],
};
/// Of one that may want to hear again what it thought.
const THOUGHTFUL: Habits = Habits { thoughts: true, ..PLAIN };
/// Of a host that has chat completions and not much more: its tools are functions.
const SIMPLE: Habits = Habits { functions_only: true, ..PLAIN };

/// For hosts that know the older of the two names only.
const SHORTER: (&str, &str) = ("max_completion_tokens", "max_tokens");

/// A host of the OpenAI dialect, with all of it.
const fn open(kind: Kind, name: &'static str, home: Home) -> Provider {
    Provider {
        kind,
        name,
        home,
        auth: Auth::Bearer,
        key: KeyNeed::Required,
        own_keys: &[],
        habits: PLAIN,
        lacks: &[],
        has_responses: true,
        unversioned: false,
        versions: Versions::Strange,
        is_router: false,
        route: openai::route,
        models: openai::models,
    }
}

/// One that has chat completions and not much more.
const fn vendor(kind: Kind, name: &'static str, home: &'static str) -> Provider {
    Provider { has_responses: false, habits: SIMPLE, ..open(kind, name, Home::At(home)) }
}

/// All of them.
pub static PROVIDERS: [Provider; 15] = [
    // Any host that speaks the dialect may be behind this one.
    Provider {
        habits: THOUGHTFUL,
        ..open(Kind::OpenAi, "openai", Home::Unknown("write `base_url: https://api.openai.com`"))
    },
    Provider {
        auth: Auth::Header("api-key"),
        own_keys: &["api_version"],
        route: azure::route,
        models: azure::models,
        ..open(
            Kind::Azure,
            "azure",
            Home::Unknown("the resource's address, such as `https://NAME.openai.azure.com`"),
        )
    },
    Provider {
        auth: Auth::Header("x-api-key"),
        versions: Versions::Needed,
        route: anthropic::route,
        models: anthropic::models,
        ..vendor(Kind::Anthropic, "anthropic", "https://api.anthropic.com")
    },
    Provider {
        auth: Auth::Header("x-goog-api-key"),
        key: KeyNeed::OrServiceAccount,
        own_keys: &["project_id", "location", "credentials_file", "credentials_json"],
        habits: Habits { vertex: true, ..PLAIN },
        has_responses: false,
        versions: Versions::BetaOnly,
        route: vertex::route,
        models: |_| None,
        ..open(Kind::VertexAi, "vertex-ai", Home::OfLocation)
    },
    Provider {
        auth: Auth::Header("x-goog-api-key"),
        route: gemini::route,
        models: gemini::models,
        ..vendor(Kind::Gemini, "gemini", "https://generativelanguage.googleapis.com")
    },
    Provider {
        key: KeyNeed::Optional,
        versions: Versions::Passed,
        is_router: true,
        route: chained::route,
        ..open(
            Kind::Proxy,
            "proxy",
            Home::Unknown("the address of the other router, such as `http://10.0.1.50:8080`"),
        )
    },
    Provider {
        habits: THOUGHTFUL,
        ..open(Kind::OpenRouter, "openrouter", Home::At("https://openrouter.ai/api"))
    },
    Provider {
        habits: Habits {
            refused: &[
                "frequency_penalty",
                "logit_bias",
                "parallel_tool_calls",
                "presence_penalty",
                "prompt_cache_key",
                "service_tier",
            ],
            ..SIMPLE
        },
        lacks: &["/v1/audio", "/v1/embeddings", "/v1/images", "/v1/moderations", "/v1/realtime"],
        ..vendor(Kind::Cerebras, "cerebras", "https://api.cerebras.ai")
    },
    Provider {
        habits: Habits { renamed: &[SHORTER], ..SIMPLE },
        unversioned: true,
        models: openai::unversioned_models,
        ..vendor(Kind::DeepInfra, "deepinfra", "https://api.deepinfra.com/v1/openai")
    },
    Provider {
        key: KeyNeed::Optional,
        habits: Habits { renamed: &[SHORTER], ..PLAIN },
        lacks: &["/v1/audio", "/v1/batches", "/v1/files", "/v1/moderations", "/v1/realtime"],
        ..open(Kind::Ollama, "ollama", Home::At("http://127.0.0.1:11434"))
    },
    Provider {
        habits: Habits { refused: &["logit_bias", "logprobs", "top_logprobs"], ..PLAIN },
        lacks: &["/v1/completions", "/v1/embeddings", "/v1/images", "/v1/moderations", "/v1/realtime"],
        ..open(Kind::Groq, "groq", Home::At("https://api.groq.com/openai"))
    },
    Provider {
        habits: Habits {
            refused: &[
                "logit_bias",
                "logprobs",
                "modalities",
                "prompt_cache_key",
                "safety_identifier",
                "service_tier",
                "store",
                "stream_options",
                "top_logprobs",
                "user",
                "verbosity",
            ],
            renamed: &[SHORTER, ("seed", "random_seed")],
            prefix: true,
            ..SIMPLE
        },
        lacks: &["/v1/completions", "/v1/images", "/v1/realtime"],
        ..vendor(Kind::Mistral, "mistral", "https://api.mistral.ai")
    },
    Provider {
        habits: Habits { renamed: &[SHORTER], ..SIMPLE },
        ..vendor(Kind::Together, "together", "https://api.together.xyz")
    },
    Provider {
        // `prefix` is of its beta: `base_url: https://api.deepseek.com/beta`.
        habits: Habits { thoughts: true, prefix: true, renamed: &[SHORTER], ..SIMPLE },
        lacks: &[
            "/v1/audio",
            "/v1/batches",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/files",
            "/v1/images",
            "/v1/moderations",
            "/v1/realtime",
        ],
        ..vendor(Kind::DeepSeek, "deepseek", "https://api.deepseek.com")
    },
    open(Kind::XAi, "xai", Home::At("https://api.x.ai")),
];

#[cfg(test)]
mod tests;
