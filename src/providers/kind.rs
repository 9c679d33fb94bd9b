//! What answers behind a credential: the values of `type` in the file. What each of them means is a row of
//! `PROVIDERS`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::provider::Provider;

/// What answers behind a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Kind {
    OpenAi,
    Azure,
    Anthropic,
    #[serde(rename = "vertex-ai")]
    VertexAi,
    Gemini,
    Proxy,
    OpenRouter,
    Cerebras,
    DeepInfra,
    Ollama,
    Groq,
    Mistral,
    Together,
    DeepSeek,
    XAi,
}

impl Kind {
    /// The spelling of the file.
    pub fn as_str(self) -> &'static str {
        self.provider().name
    }

    /// Its row of the table.
    pub fn provider(self) -> &'static Provider {
        Provider::of(self)
    }
}
