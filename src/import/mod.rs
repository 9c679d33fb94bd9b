//! Moving in: the configurations of others, made into one of ours.
//!
//! Every form is read by a room of its own and comes out as a [`draft::Map`], YAML with remarks, which the same checks
//! then read as any file. The variables of the environment are one of these forms: a router without a file is one whose
//! file is made at each start. Pure: texts and variables in, a text out.

pub mod dotenv;
mod draft;
pub mod environment;
mod services;
#[cfg(test)]
mod tests;

/// A configuration that was made of something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The YAML text.
    pub yaml: String,
    /// What was found, and what became of it, a sentence each; never a value of a secret.
    pub notes: Vec<String>,
}
