//! What an answer cost, as the upstream counted it.
//!
//! OpenAI's prompt tokens include the cached ones and its completion tokens the reasoning; Anthropic's input tokens do
//! not include what was written to and read from its cache, so there the three are added. Counts replace each other in
//! a stream and are never summed, because upstreams report running totals. Google's candidates may or may not include
//! the thoughts: the total tells. Sources: OpenAI, Anthropic and Gemini API
//! references, DeepSeek's and Moonshot's names for cached tokens; seen in recorded traffic.

use super::scan::{Cursor, Fault, Text};

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, cached ones included.
    pub prompt: u64,
    /// Of the answer, reasoning included.
    pub completion: u64,
    /// Both, or what the upstream says it is.
    pub total: u64,
    /// Of the prompt, read from a cache.
    pub cached: u64,
    /// Of the prompt, written to a cache.
    pub cache_written: u64,
    /// Of the answer, not shown.
    pub reasoning: u64,
}

impl Usage {
    /// An estimate for an answer without usage: `output_bytes` seen, four to a token.
    pub fn seen(prompt: u64, output_bytes: u64) -> Self {
        let completion = output_bytes.div_ceil(4);
        Self { prompt, completion, total: prompt.saturating_add(completion), ..Self::default() }
    }

    /// The tokens to settle.
    pub fn charge(&self) -> u64 {
        self.total
    }
}

/// A usage object as it was written: what is absent is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    reasoning: Option<u64>,
    cache_read: Option<u64>,
    cache_created: Option<u64>,
    cache_written: Option<u64>,
    candidates: Option<u64>,
    tool_prompt: Option<u64>,
}

/// No host nests its usage deeper.
const DEPTH: u8 = 8;

impl Reported {
    /// Of a value that stands by itself, as serde lends it; none where that is no usage.
    pub fn of(json: &str) -> Option<Self> {
        Self::read(&mut Cursor::new(json.as_bytes(), DEPTH)).ok().flatten()
    }

    /// Reads the value at the cursor; `None` where it is no object.
    pub fn read(cursor: &mut Cursor) -> Result<Option<Self>, Fault> {
        if cursor.peek() != b'{' {
            cursor.skip(&Text::NONE, &mut ())?;
            return Ok(None);
        }
        let mut reported = Self::default();
        let mut attempts: Option<Self> = None;
        let mut more = cursor.open_object()?;
        while more {
            let key = cursor.key()?;
            match key.raw() {
                b"iterations" if cursor.peek() == b'[' => attempts = Self::attempts(cursor)?,
                key => reported.member(key, cursor)?,
            }
            more = cursor.more_members()?;
        }
        Ok(Some(attempts.map_or(reported, |attempts| reported.overlaid(attempts))))
    }

    /// Anthropic's attempts and summaries within one answer, which the counts beside them leave out: their sum.
    fn attempts(cursor: &mut Cursor) -> Result<Option<Self>, Fault> {
        let mut sum: Option<Self> = None;
        let mut more = cursor.open_array()?;
        while more {
            if let Some(one) = Self::read(cursor)? {
                let so_far = sum.unwrap_or_default();
                let add = |a: Option<u64>, b: Option<u64>| {
                    a.or(b).map(|_| a.unwrap_or(0).saturating_add(b.unwrap_or(0)))
                };
                sum = Some(Self {
                    prompt: add(so_far.prompt, one.prompt),
                    completion: add(so_far.completion, one.completion),
                    cache_read: add(so_far.cache_read, one.cache_read),
                    cache_created: add(so_far.cache_created, one.cache_created),
                    ..Self::default()
                });
            }
            more = cursor.more_items()?;
        }
        Ok(sum)
    }

    fn member(&mut self, key: &[u8], cursor: &mut Cursor) -> Result<(), Fault> {
        let place = match key {
            b"prompt_tokens" | b"input_tokens" => &mut self.prompt,
            b"completion_tokens" | b"output_tokens" => &mut self.completion,
            b"total_tokens" => &mut self.total,
            b"cached_tokens" | b"prompt_cache_hit_tokens" => &mut self.cached,
            b"reasoning_tokens" | b"thinking_tokens" => &mut self.reasoning,
            b"cache_read_input_tokens" => &mut self.cache_read,
            b"cache_creation_input_tokens" => &mut self.cache_created,
            b"promptTokenCount" => &mut self.prompt,
            b"toolUsePromptTokenCount" => &mut self.tool_prompt,
            b"candidatesTokenCount" => &mut self.candidates,
            b"thoughtsTokenCount" => &mut self.reasoning,
            b"cachedContentTokenCount" => &mut self.cached,
            b"totalTokenCount" => &mut self.total,
            b"cache_write_tokens" => &mut self.cache_written,
            _ if key.ends_with(b"_details") && cursor.peek() == b'{' => return self.details(cursor),
            _ => return cursor.skip(&Text::NONE, &mut ()),
        };
        *place = cursor.number_or_skip()?.or(*place);
        Ok(())
    }

    fn details(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        let mut more = cursor.open_object()?;
        while more {
            let key = cursor.key()?;
            match key.raw() {
                b"cached_tokens" | b"cache_write_tokens" | b"reasoning_tokens" | b"thinking_tokens" => {
                    self.member(key.raw(), cursor)?
                }
                _ => cursor.skip(&key, &mut ())?,
            }
            more = cursor.more_members()?;
        }
        Ok(())
    }

    /// A later report of the same answer that may leave out what has not changed (Anthropic's message_delta).
    pub fn overlaid(self, newer: Self) -> Self {
        Self {
            prompt: newer.prompt.or(self.prompt),
            completion: newer.completion.or(self.completion),
            total: newer.total.or(self.total),
            cached: newer.cached.or(self.cached),
            reasoning: newer.reasoning.or(self.reasoning),
            cache_read: newer.cache_read.or(self.cache_read),
            cache_created: newer.cache_created.or(self.cache_created),
            cache_written: newer.cache_written.or(self.cache_written),
            candidates: newer.candidates.or(self.candidates),
            tool_prompt: newer.tool_prompt.or(self.tool_prompt),
        }
    }

    /// Whether it counts anything: Google sends objects that do not.
    pub fn counts(&self) -> bool {
        [self.prompt, self.completion, self.candidates, self.total].iter().any(Option::is_some)
    }

    /// The counts in our terms.
    pub fn usage(&self) -> Usage {
        let of = |count: Option<u64>| count.unwrap_or(0);
        let sum = |counts: [Option<u64>; 4]| counts.into_iter().map(of).fold(0, u64::saturating_add);
        let prompt = sum([self.prompt, self.cache_read, self.cache_created, self.tool_prompt]);
        let said = of(self.completion).saturating_add(self.generated(prompt));
        // xAI counts its reasoning beside the completion; the total shows it.
        let apart = self.candidates.is_none()
            && self.reasoning.is_some_and(|thoughts| {
                thoughts > 0 && self.total == Some(sum([Some(prompt), Some(said), Some(thoughts), None]))
            });
        let completion = if apart { said.saturating_add(of(self.reasoning)) } else { said };
        Usage {
            prompt,
            completion,
            total: self.total.unwrap_or(0).max(prompt.saturating_add(completion)),
            cached: self.cached.or(self.cache_read).unwrap_or(0),
            cache_written: self.cache_written.or(self.cache_created).unwrap_or(0),
            reasoning: of(self.reasoning),
        }
    }

    /// Google's part of the answer. Newer models count thoughts apart from the candidates.
    fn generated(&self, prompt: u64) -> u64 {
        let Some(candidates) = self.candidates else {
            let google = self.completion.is_none() && self.total.is_some();
            return if google { self.reasoning.unwrap_or(0) } else { 0 };
        };
        let inclusive = self.total == Some(prompt.saturating_add(candidates));
        candidates.saturating_add(if inclusive { 0 } else { self.reasoning.unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        Reported::read(&mut Cursor::new(json.as_bytes(), 8)).unwrap().unwrap().usage()
    }

    #[test]
    fn the_usage_of_every_dialect_is_understood() {
        let chat = r#"{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,
            "prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":2,"audio_tokens":7},
            "completion_tokens_details":{"reasoning_tokens":5,"accepted_prediction_tokens":1}}"#;
        let expected =
            Usage { prompt: 9, completion: 12, total: 21, cached: 3, cache_written: 2, reasoning: 5 };
        assert_eq!(usage(chat), expected);
        let responses = r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":3,"cache_write_tokens":2},"output_tokens":12,
            "output_tokens_details":{"reasoning_tokens":5},"total_tokens":21}"#;
        assert_eq!(usage(responses), expected);
        let embeddings = r#"{"prompt_tokens":8,"total_tokens":8}"#;
        assert_eq!(usage(embeddings), Usage { prompt: 8, total: 8, ..Usage::default() });
        let messages = r#"{"input_tokens":2,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,
            "cache_creation":{"ephemeral_5m_input_tokens":100},"output_tokens":30,"service_tier":"standard"}"#;
        assert_eq!(
            usage(messages),
            Usage {
                prompt: 1102,
                completion: 30,
                total: 1132,
                cached: 1000,
                cache_written: 100,
                reasoning: 0
            }
        );
        let deepseek =
            r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_cache_hit_tokens":4}"#;
        assert_eq!(usage(deepseek).cached, 4);
    }

    #[test]
    fn googles_thoughts_are_counted_once() {
        let apart = r#"{"promptTokenCount":10,"toolUsePromptTokenCount":2,"candidatesTokenCount":5,"thoughtsTokenCount":7,
            "totalTokenCount":24,"cachedContentTokenCount":4,"promptTokensDetails":[{"modality":"TEXT","tokenCount":10}]}"#;
        let expected =
            Usage { prompt: 12, completion: 12, total: 24, cached: 4, reasoning: 7, ..Usage::default() };
        assert_eq!(usage(apart), expected);
        let inclusive = r#"{"promptTokenCount":10,"candidatesTokenCount":12,"thoughtsTokenCount":7,"totalTokenCount":22}"#;
        assert_eq!(usage(inclusive).completion, 12);
        let only_thoughts = r#"{"promptTokenCount":10,"thoughtsTokenCount":7,"totalTokenCount":17}"#;
        assert_eq!(usage(only_thoughts).completion, 7);
    }

    #[test]
    fn reasoning_beside_the_completion_is_added_to_it() {
        let beside = r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":334,"completion_tokens_details":{"reasoning_tokens":320}}"#;
        assert_eq!(usage(beside).completion, 322);
    }

    #[test]
    fn anthropics_attempts_are_summed() {
        let several = r#"{"iterations":[{"type":"message","input_tokens":5,"output_tokens":7,"cache_read_input_tokens":1},
            {"type":"compaction","input_tokens":10,"output_tokens":3}],"input_tokens":5,"output_tokens":7,"cache_read_input_tokens":1}"#;
        assert_eq!((usage(several).prompt, usage(several).completion, usage(several).cached), (16, 10, 1));
        assert_eq!(usage(r#"{"iterations":[],"input_tokens":5}"#).prompt, 5);
    }

    #[test]
    fn odd_counts_do_no_harm() {
        assert_eq!(
            usage(r#"{"prompt_tokens":null,"completion_tokens":-1,"total_tokens":"x"}"#),
            Usage::default()
        );
        assert_eq!(usage(r#"{"prompt_tokens":5,"completion_tokens":6,"total_tokens":0}"#).charge(), 11);
        assert_eq!(Reported::read(&mut Cursor::new(b"null", 8)), Ok(None));
    }

    #[test]
    fn what_was_seen_is_estimated() {
        assert_eq!(Usage::seen(10, 9).charge(), 13);
    }
}
