"""`isthmus serve`: indexes over HTTP, with a page to search them from, as something that people leave running."""
