//! Tests of the checker: for each rule, histories that break it and must be noticed, and good ones
//! that must be accepted.

mod good;
mod lost;
mod records;
mod repeated;
mod story;
mod well;
