"""What goes on in the cloud, for people: the picture of this moment, the last RPCs, and a page that shows both live."""
