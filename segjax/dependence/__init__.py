"""Which rows of an image each row of an array depends on, read off a traced function."""
