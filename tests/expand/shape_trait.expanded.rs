trait Handler {
    const SCOPE: &'static str;
    async fn handle(&self, id: u64) -> Result<String, Error> {
        let operation = ::idempotent_fn::operation::<
            Result<String, Error>,
            _,
        >(Self::SCOPE, &[&id])
            .unique_scope();
        operation
            .run_attached(async move {
                let (id,) = (id,);
                let _ = &id;
                if let ::core::option::Option::Some(result) = ::core::option::Option::None::<
                    Result<String, Error>,
                > {
                    return result;
                }
                { Ok(id.to_string()) }
            })
            .await
    }
}
