#[idempotent(key = (id, r#type))]
#[tracing::instrument(skip_all)]
/// Attributes, `mut`, patterns and `cfg`'d parameters stay as they are.
pub(crate) async fn r#move(
    Path((id, _)): Path<(u64, u64)>,
    mut amount: u64,
    r#type: Type,
    #[cfg(feature = "audit")] audit: &Audit,
    callback: Box<dyn Fn(&str) -> bool + Send>,
) -> Outcome<&'static str> {
    #![allow(clippy::unused_async)]
    //! Inner attributes come first.
    amount += 1;
    Ok("done")
}
