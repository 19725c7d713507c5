"""The services behind the web application's routes (`api.services`), made of evidence store and room."""
