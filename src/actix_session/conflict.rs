//! The answer to a request whose session has ended.

use std::cell::Cell;

use actix_web::{
    HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    middleware::Next,
};
use tokio::task_local;

use crate::Error;

task_local! {
    /// Whether the session of the request that this task handles has ended.
    ///
    /// There is no other way: actix-session does not give the request to a store, and wraps the error of a store in an
    /// `InternalError`, whose cause is private. The middleware calls the store in the future of the request, so tasks that
    /// a handler spawns need no value, and a value is dropped with its request. If a middleware between
    /// [`conflict_if_ended`] and the `SessionMiddleware` moves the request to another task, the answer stays 500.
    static HAS_ENDED: Cell<bool>;
}

/// A middleware that answers 409 (Conflict) to a request if its session has ended in the meantime, instead of 500.
///
/// Wrap it around the `SessionMiddleware`, that is, after it: `.wrap(sessions).wrap(from_fn(conflict_if_ended))`. All
/// other answers and errors pass through. See the [module](super).
///
/// The answer is an error that contains a response with an empty body. A middleware that is wrapped around this one can
/// replace it with a page: see `examples/actix.rs`.
///
/// # Errors
///
/// Those of the other middlewares and of the handler.
pub async fn conflict_if_ended<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let answer = async {
        let result = next.call(request).await;
        (result, HAS_ENDED.with(Cell::get))
    };
    match HAS_ENDED.scope(Cell::new(false), answer).await {
        (Err(error), true) => {
            Err(InternalError::from_response(error, HttpResponse::Conflict().finish()).into())
        }
        (result, _) => result,
    }
}

/// Notes whether the session of this request has ended.
pub(super) fn note(error: &Error) {
    if matches!(error, Error::NotFound) {
        // Fails if the middleware is not used.
        let _ = HAS_ENDED.try_with(|has_ended| has_ended.set(true));
    }
}
