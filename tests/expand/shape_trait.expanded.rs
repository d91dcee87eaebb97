trait Handler {
    const SCOPE: &'static str;
    async fn handle(&self, id: u64) -> Result<String, Error> {
        let __operation = ::idempotent_fn::operation::<
            Result<String, Error>,
            _,
        >(Self::SCOPE, &[&id])
            .unique_scope();
        return __operation
            .run_attached(async move {
                let (id,) = (id,);
                let _ = &id;
                if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<
                    Result<String, Error>,
                > {
                    return __result;
                }
                { Ok(id.to_string()) }
            })
            .await;
    }
}
