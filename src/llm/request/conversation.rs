//! The members of a request that are a conversation: its turns, its tools, and whose it is.
//!
//! Field names: OpenAI API reference (`messages`, `input`, `tools`, `functions`), Anthropic's (`metadata.user_id`) and
//! Google's (`contents`, whose turns need no `role`).

use super::{BadBody, Reader};
use crate::llm::ability::Ability;
use crate::llm::scan::Text;

impl<'a> Reader<'a> {
    /// The turns of a conversation. Those up to the user's first are its head.
    pub(super) fn turns(&mut self) -> Result<(), BadBody> {
        let start = self.cursor.at();
        let mut head = None;
        let mut more = self.cursor.open_array()?;
        while more {
            let by_user = match self.cursor.peek() {
                b'{' => self.turn()?,
                _ => {
                    self.cursor.skip(&Text::NONE, &mut self.notes)?;
                    false
                }
            };
            if by_user && head.is_none() {
                head = Some(self.cursor.at());
            }
            more = self.cursor.more_items()?;
        }
        self.request.marks.turns = Some(start..head.unwrap_or(self.cursor.at()));
        Ok(())
    }

    /// One turn. Whether it is the user's; Google's need not say so.
    fn turn(&mut self) -> Result<bool, BadBody> {
        let (mut role, mut is_content) = (None, false);
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            match key.raw() {
                b"role" => role = self.cursor.string_or_skip()?,
                _ => {
                    is_content |= key.raw() == b"parts";
                    self.cursor.skip(&key, &mut self.notes)?;
                }
            }
            more = self.cursor.more_members()?;
        }
        Ok(role.map_or(is_content, |role| role.raw() == b"user"))
    }

    pub(super) fn tools(&mut self, key: &Text<'a>) -> Result<(), BadBody> {
        self.notes.enter_data();
        let mut more = self.cursor.open_array()?;
        if more {
            self.request.needs.add(Ability::Tools);
        }
        while more {
            self.cursor.skip(key, &mut self.notes)?;
            more = self.cursor.more_items()?;
        }
        self.notes.leave_data();
        Ok(())
    }

    /// Anthropic's clients say there whose the request is, some with the session.
    pub(super) fn metadata(&mut self) -> Result<(), BadBody> {
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            let (at, first) = (self.cursor.at(), self.cursor.peek());
            self.cursor.skip(&key, &mut self.notes)?;
            if key.raw() == b"user_id" && first == b'"' {
                self.request.marks.user = Some(at..self.cursor.at());
            }
            more = self.cursor.more_members()?;
        }
        Ok(())
    }
}
