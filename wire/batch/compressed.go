package batch

func (c *checker) walkCompressed(v View) error { panic("not yet") }
