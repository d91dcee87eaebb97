#[idempotent(scope = M::NAME, key = (M::NAME, N, key))]
async fn handle<M, const N: usize>(key: String, message: M) -> Result<M::Reply, Error>
where
    M: Message + Send + 'static,
{
    message.handle(N).await
}
