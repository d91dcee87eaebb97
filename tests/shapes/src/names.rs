//! Modules whose items have names that an expansion could want for its variables. A variable cannot
//! have the name of a `const`, of a `static` or of a unit struct in scope: hygiene is for variables
//! only.

/// Functions that make the expansion bind every variable it can.
macro_rules! functions {
    () => {
        /// An argument without a name, parts that await, and a part of a pattern.
        #[idempotent(key = (itself(id).await?, id), fingerprint = (itself(id).await?, amount))]
        pub async fn all(id: u64, amount: u64, _: u8, (_, _): (u8, u8)) -> Outcome {
            Ok(id + amount + fresh())
        }

        /// The boxed form.
        #[idempotent(key = id)]
        #[must_use]
        pub fn boxed(id: u64) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
            Box::pin(async move { Ok(id + fresh()) })
        }

        async fn itself(id: u64) -> Outcome {
            std::future::ready(Ok(id)).await
        }
    };
}

/// Items of one kind, for every name, and the functions.
macro_rules! named {
    ($(#[$about:meta])* $module:ident: $($item:tt)*) => {
        $(#[$about])*
        #[allow(
            non_upper_case_globals,
            non_camel_case_types,
            dead_code,
            reason = "the names are those of variables"
        )]
        pub mod $module {
            use std::future::Future;
            use std::pin::Pin;

            use idempotent_fn::idempotent;

            use crate::{Outcome, fresh};

            functions!();

            $($item)*
        }
    };
}

named! {
    /// Constants.
    constants:
    const operation: u8 = 0;
    const result: u8 = 0;
    const body: u8 = 0;
    const key_0: u8 = 0;
    const fingerprint_0: u8 = 0;
    const _argument_0: u8 = 0;
    const _argument_1: u8 = 0;
}

named! {
    /// Statics.
    statics:
    static operation: u8 = 0;
    static result: u8 = 0;
    static body: u8 = 0;
    static key_0: u8 = 0;
    static fingerprint_0: u8 = 0;
    static _argument_0: u8 = 0;
    static _argument_1: u8 = 0;
}

named! {
    /// Unit structs, as diesel's `dsl` has them for a table's columns.
    columns:
    struct operation;
    struct result;
    struct body;
    struct key_0;
    struct fingerprint_0;
    struct _argument_0;
    struct _argument_1;
}

named! {
    /// Functions, which a variable may hide.
    functions:
    fn operation() {}
    fn result() {}
    fn body() {}
    fn key_0() {}
    fn fingerprint_0() {}
    fn _argument_0() {}
    fn _argument_1() {}
}

/// A constant of the function's own.
#[allow(non_upper_case_globals, reason = "the names are those of variables")]
#[idempotent_fn::idempotent(scope = "shapes.names.generic", key = id)]
pub async fn generic<const operation: usize, const result: usize>(id: u64) -> crate::Outcome {
    Ok(id + (operation + result) as u64 + crate::fresh())
}
