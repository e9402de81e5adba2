//! Where streams begin, and which rows of a block are theirs.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::keycodec::KeyPlace;

use super::Merge;
use crate::typed::streams::{Feed, Stream};

impl Merge {
    /// To the first row from `start` on, of those before `bound`.
    pub fn start(&mut self, range: (&[u8], Option<&[u8]>)) -> Result<()> {
        let feeds = self.take_feeds();
        self.seek(feeds, range)
    }

    /// All feeds; there are no streams then.
    pub(super) fn take_feeds(&mut self) -> Vec<Feed> {
        let mut feeds = std::mem::take(&mut self.idle);
        feeds.extend(self.streams.drain(..).map(|stream| stream.feed));
        self.heads.clear();
        feeds
    }

    /// Makes streams of the feeds, which are all there are.
    pub(super) fn seek(&mut self, mut feeds: Vec<Feed>, (start, bound): (&[u8], Option<&[u8]>)) -> Result<()> {
        self.bound = bound.map(<[u8]>::to_vec);
        self.stale = true;
        self.idle.extend(feeds.extract_if(.., |feed| feed.ends_before(start)));
        // All of them first, so that the processor waits for their memory at once.
        feeds.iter_mut().try_for_each(|feed| feed.approach(start))?;
        for mut feed in feeds {
            feed.land(start)?;
            let Some((block, ..)) = feed.current() else {
                self.idle.push(feed);
                continue;
            };
            self.streams.push(Stream {
                block: Arc::clone(block),
                feed,
                row: 0,
                end: 0,
                last: false,
                plain: false,
                prefixes: Vec::new(),
                prefixed: false,
                place: KeyPlace::encoded(0),
                gathered: None,
            });
            self.heads.push(0);
            let stream = self.streams.len() - 1;
            self.enter_block(stream);
            if !self.has_rows(stream) {
                self.drop_stream(stream);
            }
        }
        Ok(())
    }

    /// Takes note of where the feed of a stream stands; false if there is nothing more to be read.
    pub(super) fn enter_block(&mut self, index: usize) -> bool {
        let stream = &mut self.streams[index];
        let Some((block, row, end)) = stream.feed.current() else {
            stream.end = stream.row;
            return false;
        };
        let entered = stream.end == 0 || !Arc::ptr_eq(block, &stream.block);
        if entered {
            stream.plain = self.sight.is_plain(&stream.feed, block);
            stream.block = Arc::clone(block);
            (stream.prefixed, stream.gathered) = (false, None);
        }
        (stream.row, stream.end) = (row, end);
        if let Some(bound) = &self.bound {
            stream.block.copy_key(end - 1, &mut self.key);
            if self.key >= *bound {
                stream.end = stream.block.lower_bound(bound, MAX_SEQ).clamp(row, end);
                stream.last = true;
            }
        }
        stream.last |= stream.feed.ends_within(end);
        stream.row < stream.end
    }
}
