//! Requests of the text protocol, each with the expected answer.

use super::Exchange;
use super::map::{Known, Model};

impl Model {
    pub(super) fn text(&mut self) -> Exchange {
        let key = self.key();
        match self.below(10) {
            0..=3 => self.text_store(&key),
            4 | 5 => self.text_get(),
            6 => {
                let (delta, decrement) = (self.below(400), self.chance(500));
                let answer = match self.count(&key, delta, decrement, None) {
                    None => "NOT_FOUND\r\n".to_owned(),
                    Some(Err(())) => {
                        "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
                            .to_owned()
                    }
                    Some(Ok((number, _))) => format!("{number}\r\n"),
                };
                let command = if decrement { "decr" } else { "incr" };
                (format!("{command} {key} {delta}\r\n").into(), answer.into())
            }
            7 => {
                let answer =
                    if self.known.remove(&key).is_some() { "DELETED\r\n" } else { "NOT_FOUND\r\n" };
                (format!("delete {key}\r\n").into(), answer.into())
            }
            8 => {
                let (told, exptime) = self.exptime();
                let answer =
                    if self.touch(&key, exptime) { "TOUCHED\r\n" } else { "NOT_FOUND\r\n" };
                (format!("touch {key} {told}\r\n").into(), answer.into())
            }
            _ => {
                let delay = self.below(40) as u32;
                self.flush_at = self.now + delay.saturating_sub(1);
                self.flush_if_due();
                (format!("flush_all {delay}\r\n").into(), b"OK\r\n".to_vec())
            }
        }
    }

    fn text_store(&mut self, key: &str) -> Exchange {
        let (mut how, value) = (
            ["set", "set", "add", "replace", "append", "prepend", "cas"][self.below(7) as usize],
            self.value(),
        );
        if !self.may_join(key, &value) {
            how = "set";
        }
        let ((told, exptime), flags) = (self.exptime(), self.below(1 << 32) as u32);
        let compare = (how == "cas").then(|| self.compare(key));
        let noreply = if self.chance(200) { " noreply" } else { "" };
        let unique = compare.map(|cas| format!(" {cas}")).unwrap_or_default();
        let line = format!("{how} {key} {flags} {told} {}{unique}{noreply}\r\n", value.len());
        let request = [line.as_bytes(), &value, b"\r\n"].concat();
        let new = Known { value, flags, exptime, ..Known::default() };
        let word = match self.store(if how == "cas" { "set" } else { how }, key, new, compare, None)
        {
            Ok(_) => "STORED",
            Err(word) => word,
        };
        (request, if noreply.is_empty() { format!("{word}\r\n").into() } else { vec![] })
    }

    fn text_get(&mut self) -> Exchange {
        let command = ["get", "gets", "gat", "gats"][self.below(4) as usize];
        let touch = command.starts_with("gat").then(|| self.exptime());
        let keys: Vec<String> = (0..=self.below(4)).map(|_| self.key()).collect();
        let mut answer = Vec::new();
        for key in &keys {
            let Some(known) = self.find(key) else { continue };
            let unique =
                if command.ends_with('s') { format!(" {}", known.cas) } else { String::new() };
            answer.extend(
                format!("VALUE {key} {} {}{unique}\r\n", known.flags, known.value.len())
                    .into_bytes(),
            );
            answer.extend([&known.value[..], b"\r\n"].concat());
            touch.map(|(_, exptime)| self.touch(key, exptime));
        }
        answer.extend(b"END\r\n");
        let told = touch.map(|(told, _)| format!(" {told}")).unwrap_or_default();
        (format!("{command}{told} {}\r\n", keys.join(" ")).into(), answer)
    }
}
