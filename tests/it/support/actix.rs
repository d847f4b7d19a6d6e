//! A web server of actix-web, which is stopped when this is dropped.

use std::{
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use actix_web::{
    dev::{Server, ServerHandle},
    rt::System,
};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a server that listens on a free port.
    pub(crate) fn start(server: impl FnOnce(TcpListener) -> Server + Send + 'static) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, handle) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async {
                let server = server(listener);
                sender.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Running {
            address,
            handle: handle.recv().unwrap(),
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The call stops the server. The future only waits for the end.
        drop(self.handle.stop(false));
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}
