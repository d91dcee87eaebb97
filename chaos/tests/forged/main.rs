//! The checker sees: each claim has histories that break it and must be found, beside good ones
//! that must pass.

mod good;
mod lost;
mod records;
mod repeated;
mod story;
mod well;
