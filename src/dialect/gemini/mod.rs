//! Gemini's generateContent, as AI Studio and Vertex speak it: a client's tongue and a provider's.
//!
//! `request` and `writer` serve clients (google-genai, gemini-cli), `compose` and `reader` providers; `embeddings`
//! and `images` stand beside them, because OpenAI's have other shapes but the same hosts. Tools and formats go out as
//! `parametersJsonSchema` and `responseJsonSchema`, which both hosts take and which are real JSON Schema, byte for
//! byte; so no schema is ever translated towards Google, only its older OpenAPI subset away from it (`schema`).
//!
//! Sources: ai.google.dev/api/generate-content and /caching, cloud.google.com reference of GenerateContentRequest
//! (aiplatform v1), ai.google.dev/gemini-api/docs/{thinking,thought-signatures,function-calling}; recorded traffic.

pub mod compose;
pub mod embeddings;
pub mod images;
pub mod reader;
pub mod request;
pub mod writer;

mod code;
mod config;
mod contents;
mod generation;
mod media;
mod partial;
mod parts;
mod schema;
mod tools;

#[cfg(test)]
mod tests;
