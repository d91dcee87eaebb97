#[tracing::instrument(skip_all)]
/// Attributes, `mut`, patterns and `cfg`'d parameters stay as they are.
pub(crate) async fn r#move(
    Path((id, (__argument_0))): Path<(u64, u64)>,
    amount: u64,
    r#type: Type,
    #[cfg(feature = "audit")]
    audit: &Audit,
    callback: Box<dyn Fn(&str) -> bool + Send>,
) -> Outcome<&'static str> {
    #![allow(clippy::unused_async)]
    //! Inner attributes come first.
    let __operation = ::idempotent_fn::operation::<
        Outcome<&'static str>,
        _,
    >(::core::concat!(::core::module_path!(), "::move"), &(&id, &r#type))
        .unique_scope();
    return __operation
        .run(async move {
            let (__argument_0, id, mut amount, r#type) = (
                __argument_0,
                id,
                amount,
                r#type,
            );
            #[cfg(feature = "audit")]
            let (audit,) = (audit,);
            let (callback,) = (callback,);
            let _ = (&id, &r#type);
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Outcome<&'static str>,
            > {
                return __result;
            }
            {
                amount += 1;
                Ok("done")
            }
        })
        .await;
}
