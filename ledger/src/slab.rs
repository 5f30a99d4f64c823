//! Rows that are found by their number and stay where they are: growing moves none of them, so no request ever waits for
//! millions of rows to be copied.

/// Rows in one piece of memory.
const PIECE: usize = 1 << 10;

/// Rows with the numbers 0, 1, 2, …
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    /// The row with this number.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn at(&self, number: u32) -> &T {
        &self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    /// The row with this number.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn at_mut(&mut self, number: u32) -> &mut T {
        &mut self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    /// Appends a row.
    pub fn push(&mut self, row: T) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(row),
            // The first piece grows as it is filled: most trees of tests have a few rows.
            None => self.pieces.push(vec![row]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(row);
                self.pieces.push(piece);
            }
        }
    }

    /// Replaces a row, or appends it as the next one.
    ///
    /// # Panics
    /// If the number is beyond the next one.
    pub fn put(&mut self, number: u32, row: T) {
        if number as usize == self.len() {
            self.push(row);
        } else {
            *self.at_mut(number) = row;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PIECE, Slab};

    #[test]
    fn rows_are_found_by_their_numbers_over_all_pieces() {
        let mut slab = Slab::default();
        let count = 3 * PIECE as u32 + 7;
        for number in 0..count {
            assert_eq!(slab.len(), number as usize);
            slab.put(number, number + 5);
        }
        for number in (0..count).step_by(3) {
            slab.put(number, number);
        }
        assert!((0..count).all(|number| *slab.at(number) == if number % 3 == 0 { number } else { number + 5 }));
        assert_eq!(slab.len(), count as usize);
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn a_row_beyond_the_next_one_is_none() {
        Slab::default().put(1, ());
    }
}
