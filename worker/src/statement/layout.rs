//! Which line stands on which page.

use std::ops::Range;

/// Width and height of A4, in points.
pub(super) const A4: (f32, f32) = (595.28, 841.89);
/// White space at the sides.
pub(super) const SIDE: f32 = 56.0;
/// The right end of what is written.
pub(super) const RIGHT: f32 = A4.0 - SIDE;
/// How far down a page lines may go; below is its foot.
pub(super) const BOTTOM: f32 = A4.1 - 72.0;
/// Where the table of a later page begins.
pub(super) const LATER_TOP: f32 = 92.0;
/// The names of the columns.
pub(super) const HEAD: f32 = 22.0;

/// A page of lines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    /// Which lines.
    pub(super) lines: Range<usize>,
    /// Where its table begins.
    pub(super) top: f32,
    /// Where it ends.
    pub(super) end: f32,
}

/// Parts lines by their heights into pages. The first table begins at `top`; below the last line there is room for the sums, which take
/// it along to a further page if need be.
pub(super) fn paginate(heights: &[f32], top: f32, sums: f32) -> Vec<Page> {
    let mut pages = vec![Page { lines: 0..0, top, end: top + HEAD }];
    for (line, height) in heights.iter().enumerate() {
        let last = pages.last_mut().expect("never empty");
        if last.end + height > BOTTOM && !last.lines.is_empty() {
            pages.push(Page { lines: line..line + 1, top: LATER_TOP, end: LATER_TOP + HEAD + height });
        } else {
            last.lines.end = line + 1;
            last.end += height;
        }
    }
    let last = pages.last_mut().expect("never empty");
    if last.end + sums > BOTTOM {
        let (from, taken) =
            if last.lines.len() > 1 { (heights.len() - 1, heights[heights.len() - 1]) } else { (heights.len(), 0.0) };
        last.lines.end = from;
        last.end -= taken;
        pages.push(Page { lines: from..heights.len(), top: LATER_TOP, end: LATER_TOP + HEAD + taken });
    }
    pages
}
