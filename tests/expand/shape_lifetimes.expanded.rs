async fn longest<'a>(
    left: &'a str,
    right: &str,
    found: &mut &'a str,
) -> Result<u64, Error> {
    let __operation = ::idempotent_fn::operation::<
        Result<u64, Error>,
        _,
    >(::core::concat!(::core::module_path!(), "::longest"), &(&left, &right))
        .unique_scope();
    return __operation
        .run_attached(async move {
            let (left, right, found) = (left, right, found);
            let _ = (&left, &right);
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Result<u64, Error>,
            > {
                return __result;
            }
            {
                *found = left;
                Ok(1)
            }
        })
        .await;
}
