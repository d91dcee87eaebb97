//! The attribute of `idempotent-fn`, which re-exports it: depend on that crate.

mod duration;
mod expand;
mod function;
#[cfg(test)]
mod golden;
mod options;

use proc_macro2::TokenStream;

/// stub
#[proc_macro_attribute]
pub fn idempotent(
    options: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    annotate(options.into(), item.into()).into()
}

/// Attribute tokens → options → function → tokens. After a mistake the item is emitted as it stands, so that the
/// mistake is the only error.
fn annotate(options: TokenStream, item: TokenStream) -> TokenStream {
    let operation = options::Options::parse(options).and_then(|options| {
        let function = function::Function::parse(item.clone(), &options)?;
        expand::expand(&options, &function)
    });
    operation.unwrap_or_else(|error| {
        let mut tokens = error.into_compile_error();
        tokens.extend(item);
        tokens
    })
}
