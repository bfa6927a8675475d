//! `lru_crawler metadump` and `mgdump`: a cursor into the store in, a line an item out, as there is
//! room. A list walks the whole table, however few items there are, so it goes on in the next
//! iteration once the connection's share of this one is used up.

use super::conn::{Conn, Phase, Wide};
use super::out::Out;
use super::text::DumpOf;
use super::time::Times;
use super::{Memcached, Step};
use crate::app::Blob;
use crate::store::Visit;
use simoom_io::Reply;

/// The cursor once all items were told.
const ENDED: Wide = Wide(u64::MAX);

/// How far a list has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dump {
    of: DumpOf,
    begun: bool,
    /// Where the store goes on, or [`ENDED`].
    cursor: Wide,
}

impl Dump {
    pub(super) fn of(of: DumpOf) -> Dump {
        Dump { of, begun: false, cursor: Wide(0) }
    }
}

impl Memcached {
    /// Goes on with a list. Once it has ended, the last byte of the request is taken.
    #[cold]
    pub(super) fn dump(
        &mut self,
        conn: &mut Conn,
        mut dump: Dump,
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if !dump.begun {
            self.say(b"OK", reply);
        }
        dump.begun = true;
        while !conn.share.is_used_up() && reply.has_capacity() {
            if dump.cursor == ENDED {
                return Memcached::end_dump(conn, dump, reply);
            }
            let (times, out) = (self.times(), &mut self.out);
            // One at a time: what was told is before the cursor, whatever writers do meanwhile.
            let next = self.store.dump(dump.cursor.0, 1, self.now, &mut |visit| {
                describe(&visit, dump.of, times, out.clear());
                reply.copy(out.bytes());
            });
            dump.cursor = next.map_or(ENDED, Wide);
            conn.share.count();
        }
        conn.phase = Phase::Dump(dump);
        Step::Wait
    }

    fn end_dump(conn: &mut Conn, dump: Dump, reply: &mut Reply<'_, Blob>) -> Step {
        conn.phase = Phase::Command;
        reply.copy(match dump.of {
            DumpOf::Metadata => b"END\r\n",
            DumpOf::Keys => b"EN\r\n",
        });
        Step::Took(1)
    }
}

fn describe(visit: &Visit<'_>, of: DumpOf, times: Times, out: &mut Out) {
    let meta = &visit.meta;
    match of {
        DumpOf::Keys if meta.binary_key => out.push(b"mg ").base64(visit.key).push(b" b\r\n"),
        DumpOf::Keys => out.push(b"mg ").push(visit.key).push(b"\r\n"),
        DumpOf::Metadata => {
            out.push(b"key=").escaped(visit.key).push(b" exp=");
            match meta.exptime {
                0 => out.push(b"-1"),
                exptime => out.number(times.date(exptime).into()),
            };
            out.push(b" la=").number(times.date(meta.last_access).into());
            out.push(b" cas=").number(meta.cas);
            out.push(if meta.fetched { b" fetch=yes" } else { b" fetch=no" });
            out.push(b" cls=").number(visit.class.into());
            out.push(b" size=").number(visit.size_bytes as u64);
            out.push(b" flags=").number(meta.flags.into()).push(b" \n")
        }
    };
}
