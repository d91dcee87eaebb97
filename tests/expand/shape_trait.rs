trait Handler {
    const SCOPE: &'static str;

    #[idempotent(scope = Self::SCOPE, key = id, detach = false)]
    async fn handle(&self, id: u64) -> Result<String, Error> {
        Ok(id.to_string())
    }
}
