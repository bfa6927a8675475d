//! Requests of the meta protocol, each with the expected answer: plain and base64 keys, normal and
//! quiet, with CAS numbers that the request chooses.

use super::Exchange;
use super::map::{Known, Model};

/// A key as a request names it, and as answers tell it.
struct Named {
    /// In the place of the key.
    token: String,
    /// The flag that goes with it.
    flag: &'static str,
    /// Behind the flag `k`.
    told: String,
    binary: bool,
}

impl Named {
    fn of(key: &str, binary: bool) -> Named {
        match binary {
            true => {
                let token = base64(key);
                Named { told: format!("{token} b"), token, flag: " b", binary }
            }
            false => Named { token: key.to_owned(), flag: "", told: key.to_owned(), binary },
        }
    }
}

fn base64(key: &str) -> String {
    super::super::super::base64::encode(key.as_bytes()).flatten().map(char::from).collect()
}

/// A flag with its number, if there is one.
fn flag(name: char, number: Option<u64>) -> String {
    number.map(|number| format!(" {name}{number}")).unwrap_or_default()
}

impl Model {
    pub(super) fn meta(&mut self) -> Exchange {
        let key = self.key();
        match self.below(4) {
            0 => self.meta_set(&key),
            1 => self.meta_delete(&key),
            2 => self.meta_count(&key),
            _ => self.meta_get(&key),
        }
    }

    /// In base64 at times; a token may be as long as a key, and base64 is a third longer.
    fn named(&mut self, key: &str) -> Named {
        let binary = self.chance(300) && key.len() < 180;
        Named::of(key, binary)
    }

    /// The flag of quiet mode, at times.
    fn quiet(&mut self) -> &'static str {
        if self.chance(300) { " q" } else { "" }
    }

    fn meta_set(&mut self, key: &str) -> Exchange {
        let (mut at, value) = (self.below(5) as usize, self.value());
        if !self.may_join(key, &value) {
            at = 0;
        }
        let (how, mode) =
            [("set", "S"), ("add", "E"), ("append", "A"), ("prepend", "P"), ("replace", "R")][at];
        let ((told, exptime), flags) = (self.exptime(), self.below(1 << 32) as u32);
        let compare = (how != "add" && self.chance(300)).then(|| self.compare(key));
        let (named, quiet, chosen) = (self.named(key), self.quiet(), self.cas_chosen());
        let line = format!(
            "ms {} {} M{mode} F{flags} T{told}{}{} c k{quiet}{}\r\n",
            named.token,
            value.len(),
            flag('C', compare),
            flag('E', chosen),
            named.flag
        );
        let request = [line.as_bytes(), &value, b"\r\n"].concat();
        let new = Known { value, flags, exptime, binary_key: named.binary, ..Known::default() };
        let (code, cas) = match self.store(how, key, new, compare, chosen) {
            Ok(_) if !quiet.is_empty() => return (request, vec![]),
            Ok(cas) => ("HD", cas),
            Err("NOT_STORED") => ("NS", 0),
            Err("NOT_FOUND") => ("NF", 0),
            Err(_) => ("EX", 0),
        };
        (request, format!("{code} c{cas} k{}\r\n", named.told).into())
    }

    fn meta_delete(&mut self, key: &str) -> Exchange {
        let compare = self.chance(300).then(|| self.compare(key));
        let (told, exptime) = self.exptime();
        let invalidates = self.chance(700);
        let (named, quiet, chosen) = (self.named(key), self.quiet(), self.cas_chosen());
        let code = match self.find(key) {
            None => "NF",
            Some(known) if compare.is_some_and(|cas| cas != known.cas) => "EX",
            Some(known) if invalidates => {
                self.put(key, Known { exptime, stale: true, token_sent: false, ..known }, chosen);
                "HD"
            }
            Some(_) => {
                self.known.remove(key);
                "HD"
            }
        };
        let how = if invalidates { format!(" I T{told}") } else { String::new() };
        let (compare, chosen) = (flag('C', compare), flag('E', chosen));
        let request =
            format!("md {} O5{compare}{chosen}{how} k{quiet}{}\r\n", named.token, named.flag);
        let is_told = quiet.is_empty() || code != "HD";
        let answer = if is_told { format!("{code} O5 k{}\r\n", named.told) } else { String::new() };
        (request.into(), answer.into())
    }

    fn meta_count(&mut self, key: &str) -> Exchange {
        let (delta, decrement, initial) = (self.below(400), self.chance(500), self.below(1000));
        let (named, quiet, chosen, creates) =
            (self.named(key), self.quiet(), self.cas_chosen(), self.chance(800));
        let counted = match self.find(key) {
            None if creates => {
                let new = Known {
                    value: initial.to_string().into(),
                    binary_key: named.binary,
                    ..Known::default()
                };
                Some(Ok((initial, self.put(key, new, chosen))))
            }
            _ => self.count(key, delta, decrement, chosen),
        };
        let answer = match counted {
            Some(Ok(_)) if !quiet.is_empty() => String::new(),
            Some(Ok((number, cas))) => {
                format!("VA {} c{cas} k{}\r\n{number}\r\n", number.to_string().len(), named.told)
            }
            Some(Err(())) => {
                "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".to_owned()
            }
            None => format!("NF k{}\r\n", named.told),
        };
        let (mode, created) =
            (if decrement { "MD" } else { "MI" }, if creates { " N0" } else { "" });
        let chosen = flag('E', chosen);
        let request = format!(
            "ma {} {mode} D{delta}{created} J{initial}{chosen} v c k{quiet}{}\r\n",
            named.token, named.flag
        );
        (request.into(), answer.into())
    }

    fn meta_get(&mut self, key: &str) -> Exchange {
        let (vivifies, recache) = (self.chance(300), self.below(60) as u32);
        let (named, quiet, chosen) = (self.named(key), self.quiet(), self.cas_chosen());
        let marks = self.marks(key, vivifies, recache, &named, chosen);
        let answer = match self.find(key) {
            None if !quiet.is_empty() => vec![],
            None => format!("EN O8 k{}\r\n", named.told).into_bytes(),
            Some(Known { value, flags, exptime, cas, binary_key, .. }) => {
                let ttl =
                    if exptime == 0 { "-1".to_owned() } else { (exptime - self.now).to_string() };
                // As the item has it, not as this request says it.
                let told = Named::of(key, binary_key).told;
                let head =
                    format!("VA {} O8 k{told} f{flags} c{cas} t{ttl}{marks}\r\n", value.len());
                [head.as_bytes(), &value, b"\r\n"].concat()
            }
        };
        let vivify = if vivifies { " N30" } else { "" };
        let chosen = flag('E', chosen);
        let request = format!(
            "mg {} v O8 k f c{vivify} R{recache}{chosen} t{quiet}{}\r\n",
            named.token, named.flag
        );
        (request.into(), answer)
    }

    /// What an `mg` does to an item, and which marks it tells.
    fn marks(
        &mut self,
        key: &str,
        vivifies: bool,
        recache: u32,
        named: &Named,
        chosen: Option<u64>,
    ) -> String {
        let now = self.now;
        let Some(known) = self.known.get_mut(key) else {
            if !vivifies {
                return String::new();
            }
            let (exptime, binary_key) = (now + 30, named.binary);
            self.put(
                key,
                Known { exptime, token_sent: true, binary_key, ..Known::default() },
                chosen,
            );
            return " W".to_owned();
        };
        let soon = known.exptime != 0 && known.exptime - now < recache;
        let won = !known.token_sent && (known.stale || soon);
        let marks = [(" Z", known.token_sent), (" X", known.stale), (" W", won)];
        known.token_sent |= won;
        marks.into_iter().filter(|(_, is_set)| *is_set).map(|(mark, _)| mark).collect()
    }
}
