//! Steps through the input of a connection: what the next bytes are for, by its phase. A step
//! consumes bytes, or waits for more. It answers heads through `handle`, or by the fast path.

use super::connection::{Answer, Connection, Phase, Waiting};
use super::head::{self, Search};
use super::partial::{Delivery, Progress};
use super::plain::Plain;
use super::response::{Persistence, Status};
use super::{Http, plain, proxy};
use crate::app::Blob;
use crate::app::content::Entry;
use simoom_io::Reply;

/// The result of one step through the input.
pub(super) enum Step {
    /// The number of consumed bytes.
    Took(usize),
    /// The handler needs more input.
    Wait(Waiting),
}

impl Http {
    #[inline(always)]
    pub(super) fn step(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if let Phase::Head(search) = conn.phase
            && search.is_new()
            && let Some(len) = self.answer_plain(conn, bytes, reply)
        {
            return Step::Took(len);
        }
        self.other_step(conn, bytes, reply)
    }

    /// A step other than a plain head that is answered at once.
    #[inline(never)]
    fn other_step(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match (conn.phase, bytes) {
            (Phase::Closing, _) => Step::Took(bytes.len()),
            (Phase::Proxy, _) => self.read_proxy_header(conn, bytes, reply),
            (Phase::Body(discard, slot), _) => self.read_body(conn, discard, slot, bytes, reply),
            (Phase::Parts(_), _) => self.continue_parts(conn, bytes, reply),
            (Phase::Reading, _) => {
                self.keep_reading(conn, reply);
                Step::Wait(Waiting::Idle)
            }
            // RFC 9112 §2.2: ignore empty lines before a request line. They start no head.
            (Phase::Head(_), [b'\r']) => Step::Wait(Waiting::Idle),
            (Phase::Head(_), [b'\r', b'\n', ..]) => Step::Took(2),
            (Phase::Head(search), _) => self.read_head(conn, search, bytes, reply),
        }
    }

    /// Reads the header of the PROXY protocol, which comes once, before all requests.
    #[cold]
    fn read_proxy_header(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match proxy::parse(bytes) {
            Ok(None) => Step::Wait(Waiting::Head),
            Ok(Some(header)) => {
                if let (Some(access), Some(client)) = (&mut self.access, header.client) {
                    access.set_address(conn.place, client);
                }
                conn.phase = Phase::default();
                Step::Took(header.len)
            }
            Err(proxy::Invalid) => {
                self.reset_proxy(conn, reply);
                Step::Took(bytes.len())
            }
        }
    }

    /// Resets a connection whose header of the PROXY protocol is invalid, or incomplete for too
    /// long. The proxy expects no answer before it (HAProxy's proxy-protocol.txt §2).
    #[cold]
    pub(super) fn reset_proxy(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.counters.http_bad_proxy_header += 1;
        conn.phase = Phase::Closing;
        reply.abort();
    }

    #[inline]
    fn read_head(
        &mut self,
        conn: &mut Connection,
        mut search: Search,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match head::find_end(bytes, &mut search, self.options.head) {
            Ok(None) => {
                conn.phase = Phase::Head(search);
                Step::Wait(Waiting::Head)
            }
            Ok(Some(len)) => match self.handle_head(conn, &bytes[..len], Delivery::Kept, reply) {
                Progress::Complete => Step::Took(len),
                Progress::Partial => Step::Wait(Waiting::Idle),
                Progress::Pending => {
                    // The request is counted when it comes again.
                    self.counters.http_requests -= 1;
                    self.counters.http_head_bytes -= len as u64;
                    conn.phase = Phase::default();
                    reply.read_later();
                    Step::Wait(Waiting::Password)
                }
            },
            Err(error) => {
                self.refuse(conn, error, bytes, reply);
                Step::Took(bytes.len())
            }
        }
    }

    /// The fast path: answers a request with a [plain] head for a file in memory, or for a path
    /// without a file, while there is no access log. Returns the length of the head; `None` if the
    /// general path has to answer.
    #[inline(always)]
    fn answer_plain(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Option<usize> {
        if self.access.is_some() {
            return None;
        }
        let head = plain::parse(bytes, &mut self.known_end, self.options.head)?;
        let site = self.content.site(head.host);
        let Some(entry) = self.content.find(site, head.path) else {
            return self.answer_missing(conn, site, &head, reply);
        };
        let Entry::File(index) = entry else { return None };
        let file = self.content.file(index);
        if file.on_disk().is_some() || head.accepts_codings && file.varies() {
            return None;
        }
        let (status, persistence) = (Status::Ok, self.persistence(conn, asked_by(&head)));
        self.answers.send(status, persistence, file.ok(), true, reply);
        self.counters.http_requests += 1;
        self.counters.http_head_bytes += head.len as u64;
        self.answered(conn, status, persistence, reply);
        Some(head.len)
    }

    /// Answers a request with a plain head for a path without an entry, unless the site has rules
    /// that may find one. Returns as [`Http::answer_plain`].
    #[cold]
    fn answer_missing(
        &mut self,
        conn: &mut Connection,
        site: u32,
        head: &Plain<'_>,
        reply: &mut Reply<'_, Blob>,
    ) -> Option<usize> {
        if self.content.has_rules(site) {
            return None;
        }
        let body = self.error(site, Status::NotFound);
        self.counters.http_requests += 1;
        self.counters.http_head_bytes += head.len as u64;
        let answer = Answer { body, with_content: true, persistence: asked_by(head) };
        self.answer(conn, answer, reply);
        Some(head.len)
    }

    /// Discards more content of a request that [`Http::handle`] began. Returns the number of bytes.
    pub(in crate::app) fn read_on(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        match self.other_step(conn, bytes, reply) {
            Step::Took(n) => n,
            Step::Wait(_) => 0,
        }
    }

    /// Continues a multipart response. Its request is still at the start of the input.
    #[cold]
    fn continue_parts(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let Ok(Some(len)) = head::find_end(bytes, &mut Search::default(), self.options.head) else {
            unreachable!("the whole head was delivered before");
        };
        match self.handle_again(conn, &bytes[..len], Delivery::Again, reply) {
            Progress::Complete => Step::Took(len),
            Progress::Partial => Step::Wait(Waiting::Idle),
            Progress::Pending => {
                reply.read_later();
                Step::Wait(Waiting::Password)
            }
        }
    }
}

/// What a request with a plain head asks for after its answer (RFC 9112 §9.3).
#[inline(always)]
fn asked_by(head: &Plain<'_>) -> Persistence {
    if head.closes { Persistence::Close } else { Persistence::Keep }
}
