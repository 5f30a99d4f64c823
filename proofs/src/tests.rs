//! Files are accepted as they are and refused with any bit altered.
