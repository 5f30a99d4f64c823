//! Frames, handshakes and typed clients on Unix and TCP sockets.
