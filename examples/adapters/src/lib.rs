//! Connections of other libraries, for `in_tx = &mut Sqlx(tx)`. Each is a type of your own around the library's, because neither
//! the trait nor the type is yours.

#[cfg(feature = "diesel-async")]
pub mod diesel_async;
#[cfg(feature = "sea-orm")]
pub mod sea_orm;
#[cfg(feature = "sqlx-0-8")]
pub mod sqlx_0_8;
