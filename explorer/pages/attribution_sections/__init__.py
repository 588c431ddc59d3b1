"""The sections of the Attribution page; each module shows one, of the net, the picture and the class asked for."""
