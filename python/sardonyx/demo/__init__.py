"""A demonstration on real models: reading the text in a picture and telling the types of files."""
