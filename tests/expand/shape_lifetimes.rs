#[idempotent(key = (left, right), detach = false)]
async fn longest<'a>(left: &'a str, right: &str, found: &mut &'a str) -> Result<u64, Error> {
    *found = left;
    Ok(1)
}
