//! OpenAI Responses, as its clients speak it: what they ask is read, and what they are answered is written.
//!
//! There is no composer. A provider of this dialect is asked by passing the body through, as its state (stored responses,
//! files, hosted tools) is half of its point; a client of another dialect reaches the same models over chat completions.
//! Its streams are read only where one breaks off and another is to go on with it.

mod content;
mod input;
mod items;
mod pen;
pub mod reader;
pub mod request;
mod response;
mod seal;
pub mod standing;
mod tools;
pub mod writer;

#[cfg(test)]
mod tests;
