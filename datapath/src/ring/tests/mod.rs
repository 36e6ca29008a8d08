//! Virtqueues against a driver that keeps the rules, and one that does not.

mod in_order;
mod lane;
mod packed;
mod record;
mod split;
