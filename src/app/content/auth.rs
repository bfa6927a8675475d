//! Passwords for paths (RFC 7617). Input: the value of Authorization. Output: whether it is valid.
//!
//! bcrypt takes some 100 ms by intent, which no worker has. So a thread verifies, and workers look
//! at its verdicts: a request with unknown credentials waits and looks again. Verdicts are stored
//! by a keyed hash of the credentials. Nothing here stores a password.

use super::pattern::Pattern;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Sender, bounded};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Verdicts that are stored. When they are full, all are forgotten.
const VERDICTS_MAX: usize = 4096;
/// Credentials that wait for the thread. Further requests look again later.
const QUEUE_MAX: usize = 256;
/// Longest value of Authorization that is looked at, in bytes.
const VALUE_MAX_BYTES: usize = 512;
/// The largest cost of a hash: 2¹⁴ rounds take about a second.
const COST_MAX: u32 = 14;

/// The users of a password file: names and bcrypt hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(HashMap<String, String>);

impl Users {
    /// Parses the text of a file as `htpasswd -B` writes it: a line `NAME:HASH` for each user. An
    /// error names the line.
    pub fn parse(text: &str) -> Result<Users, String> {
        let mut users = Users::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |what: &str| format!("line {}: {what}", number + 1);
            let (name, hash) =
                line.split_once(':').ok_or_else(|| refuse("without a colon; NAME:HASH"))?;
            let parts: bcrypt::HashParts =
                hash.parse().map_err(|_| refuse("no bcrypt hash; use `htpasswd -B`"))?;
            if parts.get_cost() > COST_MAX {
                let cost = parts.get_cost();
                return Err(refuse(&format!("a cost of {cost}, at most {COST_MAX}")));
            }
            users.0.insert(name.to_owned(), hash.to_owned());
        }
        if users.0.is_empty() {
            Err("no user; add one with `htpasswd -B`".into())
        } else {
            Ok(users)
        }
    }

    /// Whether the password is that of the user. Takes as long for an unknown user.
    fn verify(&self, name: &str, password: &[u8]) -> bool {
        let hash = self.0.get(name).or_else(|| self.0.values().next());
        let is_right = hash.is_some_and(|hash| bcrypt::verify(password, hash).unwrap_or(false));
        is_right && self.0.contains_key(name)
    }
}

/// Paths that need a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRule {
    /// The paths.
    pub path: Pattern,
    /// What the client shows to its user. [`check_realm`] accepts it.
    pub realm: String,
    /// Those who may see the paths.
    pub users: Arc<Users>,
}

/// Checks the name of a realm. An error says what is wrong.
pub fn check_realm(realm: &str) -> Result<(), String> {
    let is_text = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if realm.len() <= 64 && realm.bytes().all(is_text) {
        Ok(())
    } else {
        Err(format!("realm {realm:?}: up to 64 of visible ASCII, without quotes and backslashes"))
    }
}

/// The verdict on credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    Denied,
    /// Not known yet: look again later.
    Pending,
}

/// Whether `value`, of Authorization, grants access for `users`.
pub(super) fn check(users: &Arc<Users>, value: Option<&[u8]>) -> Access {
    let Some(encoded) = value.and_then(basic) else { return Access::Denied };
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(Verifier::start).check(users, encoded)
}

/// The credentials in a value of the scheme Basic, still encoded.
fn basic(value: &[u8]) -> Option<&[u8]> {
    let (scheme, encoded) = value.split_at_checked(b"Basic ".len())?;
    let is_basic = scheme.eq_ignore_ascii_case(b"Basic ") && value.len() <= VALUE_MAX_BYTES;
    is_basic.then(|| encoded.trim_ascii())
}

/// Credentials to verify.
struct Job {
    key: u64,
    users: Arc<Users>,
    encoded: Box<[u8]>,
}

/// The verdicts and the thread that finds them.
struct Verifier {
    hash: RandomState,
    verdicts: Arc<Mutex<HashMap<u64, Access>>>,
    jobs: Sender<Job>,
}

impl Verifier {
    fn start() -> Verifier {
        let (jobs, queue) = bounded::<Job>(QUEUE_MAX);
        let verdicts = Arc::new(Mutex::new(HashMap::<u64, Access>::with_capacity(VERDICTS_MAX)));
        let found = verdicts.clone();
        let work = move || {
            for Job { key, users, encoded } in queue {
                let verdict =
                    if verify(&users, &encoded) { Access::Granted } else { Access::Denied };
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, verdict);
            }
        };
        // Without the thread nobody gets access.
        let _ = std::thread::Builder::new().name("passwords".into()).spawn(work);
        Verifier { hash: RandomState::new(), verdicts, jobs }
    }

    fn check(&self, users: &Arc<Users>, encoded: &[u8]) -> Access {
        // The users, by their address, stay until the process ends or the content is replaced.
        let key = self.hash.hash_one((Arc::as_ptr(users) as usize, encoded));
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = verdicts.get(&key) {
            return *verdict;
        }
        if verdicts.len() >= VERDICTS_MAX {
            verdicts.clear();
        }
        let job = Job { key, users: users.clone(), encoded: encoded.into() };
        if self.jobs.try_send(job).is_ok() {
            verdicts.insert(key, Access::Pending);
        }
        Access::Pending
    }
}

fn verify(users: &Users, encoded: &[u8]) -> bool {
    let Ok(credentials) = STANDARD.decode(encoded) else { return false };
    let Some(colon) = credentials.iter().position(|&byte| byte == b':') else { return false };
    let (name, password) = (&credentials[..colon], &credentials[colon + 1..]);
    // bcrypt ends a password at a NUL.
    let name = std::str::from_utf8(name).ok().filter(|_| !password.contains(&0));
    name.is_some_and(|name| users.verify(name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "secret" with the smallest cost.
    fn users() -> Users {
        let hash = bcrypt::hash("secret", 4).unwrap();
        Users::parse(&format!("# staff\n\nme:{hash}\n")).unwrap()
    }

    #[test]
    fn only_the_password_of_the_user_is_right() {
        let users = users();
        let encode = |text: &str| STANDARD.encode(text);
        for (credentials, is_right) in [
            ("me:secret", true),
            ("me:Secret", false),
            ("you:secret", false),
            ("me:", false),
            ("me", false),
            ("me:secret\0", false),
        ] {
            assert_eq!(verify(&users, encode(credentials).as_bytes()), is_right, "{credentials}");
        }
        assert!(!verify(&users, b"%%"));
    }

    #[test]
    fn errors_name_the_line_and_the_bound() {
        let parsed = |text: &str| Users::parse(text).unwrap_err();
        assert!(parsed("me").starts_with("line 1: "));
        assert!(parsed("\nme:$apr1$x$y").contains("line 2: no bcrypt hash; use `htpasswd -B`"));
        let costly = "me:$2y$15$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui";
        assert!(parsed(costly).contains("a cost of 15, at most 14"), "{}", parsed(costly));
        assert!(parsed("# nobody").starts_with("no user"));
        assert!(check_realm("a\"").is_err() && check_realm("Staff only").is_ok());
    }

    #[test]
    fn a_verdict_comes_later_and_is_kept() {
        let users = Arc::new(users());
        let value = format!("basic {}", STANDARD.encode("me:secret"));
        while check(&users, Some(value.as_bytes())) == Access::Pending {
            std::thread::yield_now();
        }
        assert_eq!(check(&users, Some(value.as_bytes())), Access::Granted);
        for value in [None, Some(&b"Bearer x"[..]), Some(b"Basic"), Some(b"")] {
            assert_eq!(check(&users, value), Access::Denied, "without any verification");
        }
    }
}
