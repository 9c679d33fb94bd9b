//! An answer in no provider's tongue: the pieces that a reader takes out of a stream (or out of a whole answer), and
//! what they add up to.
//!
//! A whole answer is read as the pieces that a stream of it would have had, and written from what they add up to; so
//! the two ways cannot tell different stories. The order of pieces: `Start` once; then content; per choice one
//! `Finish`; `Usage` any number of times, each replacing the one before it.

use crate::llm::usage::Usage;

/// One piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Piece<'a> {
    /// The answer begins. Either may be empty where the provider does not say.
    Start {
        /// The provider's id for it.
        id: &'a str,
        /// The model that answers.
        model: &'a str,
    },
    /// Text goes on.
    Text(&'a str),
    /// Thoughts, or their summary, go on.
    Reasoning(&'a str),
    /// Proof of the thoughts so far; ends them.
    Signature(&'a str),
    /// Thoughts that only the provider can read, whole.
    Redacted(&'a str),
    /// A refusal goes on.
    Refusal(&'a str),
    /// A tool call begins. Its arguments follow; calls of one choice are numbered 0, 1, 2 without gaps.
    ToolCall {
        /// Its number in the choice.
        ordinal: u32,
        /// Never empty: the reader makes one up where the provider has none.
        id: &'a str,
        /// The tool.
        name: &'a str,
        /// Gemini's thought signature.
        signature: Option<&'a str>,
    },
    /// The JSON text of a call's arguments goes on. A call without any such piece has the arguments `{}`.
    Arguments {
        /// The call's number.
        ordinal: u32,
        /// A part of the text.
        json: &'a str,
    },
    /// A picture, whole.
    Image {
        /// Such as `image/png`.
        mime: &'a str,
        /// Base64.
        data: &'a str,
    },
    /// The choice is complete.
    Finish(Finish<'a>),
    /// What it costs, so far.
    Usage(Usage),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish<'a> {
    /// It was done.
    Stop,
    /// One of the request's stop texts; which, where the provider says it.
    StopSequence(Option<&'a str>),
    /// Out of tokens.
    Length,
    /// To have tools called.
    ToolCalls,
    /// A filter, or the model's own refusal.
    Filtered,
    /// The provider paused a long turn: it is not finished.
    Paused,
}

/// Takes pieces; `choice` is 0 but where several answers were asked for.
pub trait Sink {
    /// The next piece.
    fn piece(&mut self, choice: u32, piece: Piece<'_>);
}

/// An answer, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The provider's id; may be empty.
    pub id: String,
    /// The model; may be empty.
    pub model: String,
    /// By their number.
    pub choices: Vec<Choice>,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// One answer of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// In order.
    pub blocks: Vec<Block>,
    /// `None`: it never ended.
    pub finish: Option<Ended>,
}

/// `Finish` without a borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Stop,
    StopSequence(Option<String>),
    Length,
    ToolCalls,
    Filtered,
    Paused,
}

/// A block of an answer: neighbouring pieces of one kind, joined.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Text.
    Text(String),
    /// Thoughts with their proof.
    Reasoning {
        /// In words; may be empty.
        text: String,
        /// Opaque.
        signature: Option<String>,
    },
    /// Thoughts that only the provider can read.
    Redacted(String),
    /// A refusal.
    Refusal(String),
    /// A call.
    ToolCall {
        /// Its number.
        ordinal: u32,
        /// Its id.
        id: String,
        /// The tool.
        name: String,
        /// JSON text; never empty.
        arguments: String,
        /// Gemini's thought signature.
        signature: Option<String>,
    },
    /// A picture.
    Image {
        /// Such as `image/png`.
        mime: String,
        /// Base64.
        data: String,
    },
}

impl Sink for Reply {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        match piece {
            Piece::Start { id, model } => (self.id, self.model) = (id.to_owned(), model.to_owned()),
            Piece::Usage(usage) => self.usage = Some(usage),
            piece => self.choice(choice).piece(piece),
        }
    }
}

impl Reply {
    /// The pieces that it consists of: what a stream of it would have brought.
    pub fn pieces(&self, sink: &mut dyn Sink) {
        sink.piece(0, Piece::Start { id: &self.id, model: &self.model });
        for (number, choice) in (0..).zip(&self.choices) {
            choice.blocks.iter().for_each(|block| block.pieces(number, sink));
            if let Some(ended) = &choice.finish {
                sink.piece(number, Piece::Finish(ended.finish()));
            }
        }
        if let Some(usage) = self.usage {
            sink.piece(0, Piece::Usage(usage));
        }
    }

    fn choice(&mut self, number: u32) -> &mut Choice {
        // No provider gives more answers than this.
        let number = (number as usize).min(127);
        if self.choices.len() <= number {
            self.choices.resize_with(number + 1, Choice::default);
        }
        &mut self.choices[number]
    }
}

impl Choice {
    fn piece(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(more) => match self.blocks.last_mut() {
                Some(Block::Text(text)) => text.push_str(more),
                _ => self.blocks.push(Block::Text(more.to_owned())),
            },
            Piece::Refusal(more) => match self.blocks.last_mut() {
                Some(Block::Refusal(text)) => text.push_str(more),
                _ => self.blocks.push(Block::Refusal(more.to_owned())),
            },
            Piece::Reasoning(more) => match self.blocks.last_mut() {
                Some(Block::Reasoning { text, signature: None }) => text.push_str(more),
                _ => self.blocks.push(Block::Reasoning { text: more.to_owned(), signature: None }),
            },
            Piece::Signature(proof) => match self.blocks.last_mut() {
                Some(Block::Reasoning { signature: signature @ None, .. }) => {
                    *signature = Some(proof.to_owned())
                }
                _ => self
                    .blocks
                    .push(Block::Reasoning { text: String::new(), signature: Some(proof.to_owned()) }),
            },
            Piece::Redacted(data) => self.blocks.push(Block::Redacted(data.to_owned())),
            Piece::Image { mime, data } => {
                self.blocks.push(Block::Image { mime: mime.to_owned(), data: data.to_owned() })
            }
            Piece::ToolCall { ordinal, id, name, signature } => self.blocks.push(Block::ToolCall {
                ordinal,
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: String::new(),
                signature: signature.map(str::to_owned),
            }),
            Piece::Arguments { ordinal, json } => self.arguments(ordinal, json),
            Piece::Finish(finish) => self.finish(finish),
            Piece::Start { .. } | Piece::Usage(_) => {}
        }
    }

    fn arguments(&mut self, wanted: u32, json: &str) {
        let call = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::ToolCall { ordinal, arguments, .. } if *ordinal == wanted => Some(arguments),
            _ => None,
        });
        if let Some(arguments) = call {
            arguments.push_str(json);
        }
    }

    fn finish(&mut self, finish: Finish) {
        self.finish = Some(finish.ended());
        for block in &mut self.blocks {
            if let Block::ToolCall { arguments, .. } = block {
                if arguments.is_empty() {
                    arguments.push_str("{}");
                }
            }
        }
    }
}

impl Block {
    fn pieces(&self, choice: u32, sink: &mut dyn Sink) {
        match self {
            Self::Text(text) => sink.piece(choice, Piece::Text(text)),
            Self::Refusal(text) => sink.piece(choice, Piece::Refusal(text)),
            Self::Redacted(data) => sink.piece(choice, Piece::Redacted(data)),
            Self::Image { mime, data } => sink.piece(choice, Piece::Image { mime, data }),
            Self::Reasoning { text, signature } => {
                if !text.is_empty() {
                    sink.piece(choice, Piece::Reasoning(text));
                }
                if let Some(signature) = signature {
                    sink.piece(choice, Piece::Signature(signature));
                }
            }
            Self::ToolCall { ordinal, id, name, arguments, signature } => {
                let (ordinal, signature) = (*ordinal, signature.as_deref());
                sink.piece(choice, Piece::ToolCall { ordinal, id, name, signature });
                sink.piece(choice, Piece::Arguments { ordinal, json: arguments });
            }
        }
    }
}

impl Finish<'_> {
    /// The same without the borrow.
    pub fn ended(self) -> Ended {
        match self {
            Self::Stop => Ended::Stop,
            Self::StopSequence(text) => Ended::StopSequence(text.map(str::to_owned)),
            Self::Length => Ended::Length,
            Self::ToolCalls => Ended::ToolCalls,
            Self::Filtered => Ended::Filtered,
            Self::Paused => Ended::Paused,
        }
    }
}

impl Ended {
    /// The same as a piece has it.
    pub fn finish(&self) -> Finish<'_> {
        match self {
            Self::Stop => Finish::Stop,
            Self::StopSequence(text) => Finish::StopSequence(text.as_deref()),
            Self::Length => Finish::Length,
            Self::ToolCalls => Finish::ToolCalls,
            Self::Filtered => Finish::Filtered,
            Self::Paused => Finish::Paused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_blocks_and_blocks_come_apart_again() {
        let mut reply = Reply::default();
        for piece in [
            Piece::Start { id: "x", model: "m" },
            Piece::Reasoning("hm"),
            Piece::Signature("s"),
            Piece::Text("a"),
            Piece::Text("b"),
            Piece::ToolCall { ordinal: 0, id: "c", name: "f", signature: None },
            Piece::Finish(Finish::ToolCalls),
        ] {
            reply.piece(0, piece);
        }
        let [Block::Reasoning { .. }, Block::Text(text), Block::ToolCall { arguments, .. }] =
            reply.choices[0].blocks.as_slice()
        else {
            panic!("{reply:?}")
        };
        assert_eq!((text.as_str(), arguments.as_str()), ("ab", "{}"));
        let mut again = Reply::default();
        reply.pieces(&mut again);
        assert_eq!(again, reply);
    }
}
