async fn handle<M, const N: usize>(key: String, message: M) -> Result<M::Reply, Error>
where
    M: Message + Send + 'static,
{
    let __operation = ::idempotent_fn::operation::<
        Result<M::Reply, Error>,
        _,
    >(M::NAME, &(&M::NAME, &N, &key))
        .unique_scope();
    return __operation
        .run(async move {
            let (key, message) = (key, message);
            let _ = &key;
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                Result<M::Reply, Error>,
            > {
                return __result;
            }
            { message.handle(N).await }
        })
        .await;
}
