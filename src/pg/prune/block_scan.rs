//! The order in which the blocks of a table are looked at.

/// The most blocks that one statement looks at: a megabyte, with blocks of the usual size.
const MAX_SPAN: u64 = 128;

/// A circular scan: from a block within the table to its end, then from the first block to where it began.
pub(super) struct BlockScan {
    start: u64,
    /// The next block to look at.
    pub(super) next: u64,
    /// How many blocks to look at next.
    span: u64,
    has_wrapped: bool,
}

impl BlockScan {
    pub(super) fn from(start: u64) -> BlockScan {
        BlockScan {
            start,
            next: start,
            span: MAX_SPAN,
            has_wrapped: false,
        }
    }

    /// The block after the last of the blocks to look at next.
    pub(super) fn end(&self) -> u64 {
        let end = (self.next + self.span).min(u32::MAX.into());
        if self.has_wrapped {
            end.min(self.start)
        } else {
            end
        }
    }

    /// Halves the number of blocks to look at next. Each [`advance`](Self::advance) doubles it again.
    pub(super) fn narrow(&mut self) {
        self.span = 1.max(self.span / 2);
    }

    /// Advances to the next blocks of a table that has `blocks` blocks. Returns false if there are none left.
    pub(super) fn advance(&mut self, blocks: u64) -> bool {
        self.next = self.end();
        self.span = MAX_SPAN.min(self.span * 2);
        if !self.has_wrapped && self.next >= blocks {
            self.has_wrapped = true;
            self.start = self.start.min(blocks);
            self.next = 0;
        }
        !self.has_wrapped || self.next < self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranges of blocks that a scan looks at.
    fn scanned(start: u64, blocks: u64) -> Vec<(u64, u64)> {
        let mut scan = BlockScan::from(start);
        let mut ranges = Vec::new();
        loop {
            ranges.push((scan.next, scan.end()));
            if !scan.advance(blocks) {
                return ranges;
            }
        }
    }

    #[test]
    fn a_scan_sees_each_block_once() {
        assert_eq!(scanned(0, 0), [(0, 128)]);
        assert_eq!(scanned(0, 128), [(0, 128)]);
        assert_eq!(scanned(0, 129), [(0, 128), (128, 256)]);
        assert_eq!(scanned(128, 200), [(128, 256), (0, 128)]);
        assert_eq!(
            scanned(300, 500),
            [(300, 428), (428, 556), (0, 128), (128, 256), (256, 300)]
        );
    }

    #[test]
    fn a_scan_that_was_narrowed_misses_no_block_and_widens_again() {
        let mut scan = BlockScan::from(0);
        for _ in 0..4 {
            scan.narrow();
        }
        let mut ranges = Vec::new();
        while ranges.len() < 6 {
            ranges.push((scan.next, scan.end()));
            scan.advance(1_000);
        }
        let widened = [(0, 8), (8, 24), (24, 56), (56, 120), (120, 248), (248, 376)];
        assert_eq!(ranges, widened);
        for _ in 0..10 {
            scan.narrow();
        }
        assert_eq!((scan.next, scan.end()), (376, 377));
    }

    #[test]
    fn a_scan_of_a_table_that_has_shrunk_ends_at_the_end_of_the_table() {
        assert_eq!(scanned(1_000_000, 100), [(1_000_000, 1_000_128), (0, 100)]);
    }
}
