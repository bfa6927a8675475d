//! Passwords for paths (RFC 7617). Input: the value of Authorization. Output: whether it is valid.
//!
//! bcrypt takes some 100 ms by intent, which no worker has. So a thread verifies, and workers look
//! at its verdicts: a request with unknown credentials waits and looks again. Verdicts are stored
//! by a keyed hash of the credentials. Nothing here stores a password beyond its verification.
//!
//! Each user has a queue of credentials, and so have all unknown names together. The thread takes
//! them in turns: a client that guesses names and passwords delays others by a verification each.

use super::pattern::Pattern;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Verdicts that are stored. When they are full, all are forgotten.
const VERDICTS_MAX: usize = 4096;
/// Credentials of one user that wait for the thread. Further requests look again later.
const QUEUE_MAX: usize = 64;
/// Users whose credentials wait for the thread.
const QUEUES_MAX: usize = 256;
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
    static VERIFIER: OnceLock<Arc<Verifier>> = OnceLock::new();
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
    credentials: Credentials,
}

/// A name and a password.
struct Credentials {
    bytes: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// `None` if they are malformed: then they are wrong.
    fn decode(encoded: &[u8]) -> Option<Credentials> {
        let bytes = STANDARD.decode(encoded).ok()?;
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        std::str::from_utf8(&bytes[..colon]).ok()?;
        // bcrypt ends a password at a NUL.
        (!bytes[colon + 1..].contains(&0)).then_some(Credentials { bytes, colon })
    }

    fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.colon]).unwrap_or_default()
    }

    fn are_right(&self, users: &Users) -> bool {
        users.verify(self.name(), &self.bytes[self.colon + 1..])
    }
}

/// The credentials of one user that wait.
struct Queue {
    users: Arc<Users>,
    /// `None` for all unknown names.
    name: Option<String>,
    jobs: VecDeque<Job>,
}

/// What the workers and the thread share.
#[derive(Default)]
struct State {
    verdicts: HashMap<u64, Access>,
    /// Not empty, each. The thread takes a job of the first, which then becomes the last.
    queues: VecDeque<Queue>,
}

impl State {
    /// Queues a job. Returns false if there is no space.
    fn push(&mut self, job: Job) -> bool {
        let name = Some(job.credentials.name()).filter(|name| job.users.0.contains_key(*name));
        let is_of = |queue: &&mut Queue| {
            Arc::ptr_eq(&queue.users, &job.users) && queue.name.as_deref() == name
        };
        let has_space = self.queues.len() < QUEUES_MAX;
        match self.queues.iter_mut().find(is_of) {
            Some(queue) if queue.jobs.len() < QUEUE_MAX => queue.jobs.push_back(job),
            None if has_space => {
                let (users, name) = (job.users.clone(), name.map(str::to_owned));
                self.queues.push_back(Queue { users, name, jobs: [job].into() });
            }
            _ => return false,
        }
        true
    }

    fn pop(&mut self) -> Option<Job> {
        let mut queue = self.queues.pop_front()?;
        let job = queue.jobs.pop_front();
        if !queue.jobs.is_empty() {
            self.queues.push_back(queue);
        }
        job
    }
}

/// The verdicts and the thread that finds them.
struct Verifier {
    hash: RandomState,
    state: Mutex<State>,
    has_jobs: Condvar,
}

impl Verifier {
    fn start() -> Arc<Verifier> {
        let verifier = Arc::new(Verifier {
            hash: RandomState::new(),
            state: Mutex::default(),
            has_jobs: Condvar::new(),
        });
        let shared = verifier.clone();
        // Without the thread nobody gets access.
        let _ = std::thread::Builder::new().name("passwords".into()).spawn(move || shared.run());
        verifier
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies credentials for ever.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            let Some(job) = state.pop() else {
                state = self.has_jobs.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            #[cfg(test)]
            let _held = hold();
            let is_right = job.credentials.are_right(&job.users);
            state = self.lock();
            let verdict = if is_right { Access::Granted } else { Access::Denied };
            state.verdicts.insert(job.key, verdict);
        }
    }

    fn check(&self, users: &Arc<Users>, encoded: &[u8]) -> Access {
        // The users, by their address, stay until the process ends or the content is replaced.
        let key = self.hash.hash_one((Arc::as_ptr(users) as usize, encoded));
        let mut state = self.lock();
        if let Some(verdict) = state.verdicts.get(&key) {
            return *verdict;
        }
        let Some(credentials) = Credentials::decode(encoded) else { return Access::Denied };
        if state.verdicts.len() >= VERDICTS_MAX {
            state.verdicts.clear();
        }
        if state.push(Job { key, users: users.clone(), credentials }) {
            state.verdicts.insert(key, Access::Pending);
            self.has_jobs.notify_one();
        }
        Access::Pending
    }
}

/// Keeps the thread from verifying until the guard is dropped.
#[cfg(test)]
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    static HELD: Mutex<()> = Mutex::new(());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the credentials in a value of Authorization are verified.
#[cfg(test)]
pub(crate) fn wait_for_verdict(users: &Arc<Users>, value: &str) {
    while check(users, Some(value.as_bytes())) == Access::Pending {
        std::thread::yield_now();
    }
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
            let decoded = Credentials::decode(encode(credentials).as_bytes());
            let verdict = decoded.is_some_and(|credentials| credentials.are_right(&users));
            assert_eq!(verdict, is_right, "{credentials}");
        }
        assert!(Credentials::decode(b"%%").is_none());
    }

    #[test]
    fn guesses_delay_another_user_by_one_verification_each() {
        let users = Arc::new(Users(["me", "you"].map(|name| (name.into(), String::new())).into()));
        let job = |key: u64, text: String| {
            let credentials = Credentials::decode(STANDARD.encode(text).as_bytes()).unwrap();
            Job { key, users: users.clone(), credentials }
        };
        let mut state = State::default();
        // Names that nobody has, and passwords of one user: each queue has its limit.
        for guess in 0..QUEUE_MAX as u64 {
            assert!(state.push(job(guess, format!("name {guess}:x"))));
            assert!(state.push(job(guess + 1000, format!("me:{guess}"))));
        }
        assert!(!state.push(job(1, "nobody:x".into())) && !state.push(job(1, "me:x".into())));
        assert!(state.push(job(2000, "you:x".into())));
        let order: Vec<u64> = std::iter::from_fn(|| state.pop()).map(|job| job.key).collect();
        assert_eq!(order[..5], [0, 1000, 2000, 1, 1001]);
        assert_eq!(order.len(), 2 * QUEUE_MAX + 1);
        assert!(state.queues.is_empty());
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
        for value in [None, Some(&b"Bearer x"[..]), Some(b"Basic"), Some(b""), Some(b"Basic bWU=")]
        {
            assert_eq!(check(&users, value), Access::Denied, "without any verification");
        }
    }
}
