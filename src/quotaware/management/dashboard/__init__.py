"""The dashboard at `/dashboard`: pages made on the server, over the same services as the API, as the viewer."""
